// The ops of the cpu backend: they prepare arguments, split the work over outputs or rows, and run
// the kernels of one instruction set level on a thread pool. Every op is done when it returns. One
// thread at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/cpu/cpu_memory.h"
#include "backend/cpu/kernels.h"
#include "backend/ops.h"
#include "base/thread_pool.h"

namespace exo::cpu {

class CpuOps : public Ops {
 public:
  CpuOps(const Kernels& kernels, bool exact, int threads, std::shared_ptr<MemoryPool> memory);

  Tensor embed(const Tensor& table, std::span<const TokenId> ids) override;
  Tensor matmul(const Tensor& x, const Tensor& w, const Tensor* bias) override;
  Tensor grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) override;
  Tensor rms_norm(const Tensor& x, const Tensor& weight, float eps) override;
  Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) override;
  Tensor add(const Tensor& x, const Tensor& y) override;
  Tensor multiply(const Tensor& x, const Tensor& y) override;
  Tensor scale(const Tensor& x, float factor) override;
  Tensor silu(const Tensor& x) override;
  Tensor gelu(const Tensor& x, Gelu kind) override;
  Tensor soft_cap(const Tensor& x, float cap) override;
  Tensor clamped_swiglu(const Tensor& gate, const Tensor& up, float limit) override;
  Tensor head_matmul(const Tensor& x, const Tensor& w, int heads) override;
  Tensor concat_columns(const Tensor& x, const Tensor& y) override;
  Tensor columns(const Tensor& x, int64_t begin, int64_t count) override;
  Tensor rope(const Tensor& x, std::span<const int32_t> positions,
              const RopeParams& params) override;
  void kv_write(KvLayer& layer, const Tensor& k, const Tensor& v,
                std::span<const AttentionSpan> spans) override;
  Tensor attention(const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
                   const AttentionParams& params) override;
  Tensor attend_all(const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const RowSpan> spans, const AttentionParams& params) override;
  Tensor replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) override;
  Tensor gather_rows(const Tensor& x, std::span<const int32_t> rows) override;
  Tensor add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
                  std::span<const float> weights) override;
  Routing route(const Tensor& logits, const RouteParams& params) override;
  std::vector<TokenId> argmax(const Tensor& logits) override;
  TopK top_k(const Tensor& logits, int k) override;
  Tensor swiglu(const Tensor& gate, const Tensor& up) override;
  Tensor norm_matmul(const Tensor& x, const Tensor& norm, float eps, const Tensor& w,
                     const Tensor* bias) override;
  std::vector<Tensor> matmuls(const Tensor& x, std::span<const Projection> by) override;
  Tensor matmul_add(const Tensor& x, const Tensor& y, const Tensor& w, const Tensor* bias) override;

  ThreadPool& threads() { return threads_; }

 private:
  enum class Form { f32, bf16, int8 };  // of a matmul's activations

  // The input of a matmul in the forms asked for so far. q, k and v (and gate and up) share it:
  // the tensors in the key are held, so an equal buffer is the same input.
  struct Activations {
    std::shared_ptr<Buffer> x, norm;  // the key; norm may be null
    float eps = 0;
    int64_t rows = 0, k = 0;
    std::shared_ptr<CpuBuffer> f32;  // rows x_stride() apart; x itself where nothing changes
    std::shared_ptr<CpuBuffer> bf16;
    std::shared_ptr<CpuBuffer> quants, blocks;  // int8 and XBlock
  };
  struct Input {
    const Tensor& x;
    const Tensor* norm = nullptr;
    float eps = 0;
  };
  struct Plan {
    Form form;
    MatmulKernel kernel;
    int64_t w_stride;     // bytes of a row of weights
    bool spread = false;  // the kernel takes what spread.h makes of them
  };
  // One matrix and the rows that go through it; cut into tasks of at most so many rows and outputs.
  // What lies side by side is computed in one go, so that threads wait for each other once.
  struct Part {
    Plan plan;
    DType dtype;
    MatmulArgs args;  // from its first row on
    int64_t rows, outs;
    const float* bias = nullptr;
    const float* residual = nullptr;  // of its first row
    int64_t task_rows = 0, task_outs = 0;
    int64_t row_tasks = 0, first_task = 0;
  };

  Tensor make(Shape shape);
  std::shared_ptr<CpuBuffer> buffer(size_t size_bytes);
  std::byte* scratch(int worker, int64_t size_bytes);
  void reserve_scratch(int64_t size_bytes);
  template <class Body>
  Tensor elementwise(const Tensor& x, Body&& body);

  Plan plan(const Tensor& w) const;  // without a kernel: widened_matmul
  void spread_matmul(const Part& part, const Rect& rect, std::byte* units) const;
  int64_t scratch_of(const Part& part) const;
  void widened_matmul(DType dtype, const MatmulArgs& args, const Rect& rect, float* rows) const;
  void widen(DType dtype, const std::byte* rows, int64_t count, int64_t k, float* out) const;
  void prepare(const Input& input, Form form);
  int64_t x_stride(Form form) const;  // elements between rows of activations_
  void compute_form(Form form, int64_t row, const float* x);
  Part part_of(const Input& input, const Projection& by, int64_t row, int64_t rows, Tensor& out);
  void compute(std::vector<Part> parts);
  static void finish(const Part& part, const Rect& rect);
  void update_rope_table(std::span<const int32_t> positions, const RopeParams& params);
  struct AttendCall {
    const Tensor& q;
    const KvLayer& layer;
    std::span<const AttentionSpan> spans;
    const AttentionParams& params;
    bool all = false;  // every row sees its whole span
  };
  Tensor attend(const AttendCall& call, Tensor out);
  static AttendArgs attend_args(const AttendCall& call, Tensor& out);
  static std::vector<AttendArgs> attend_tasks(const AttendCall& call, Tensor& out);
  void attend_by_spans(std::span<AttendArgs> tasks, int64_t sums_floats, int64_t scratch_bytes);
  // Row `row` of a span into its place in the cache; `transposed` as K lies there.
  void write_row(const Tensor& kv, const Tensor& rows, const AttentionSpan& span, int64_t row,
                 bool transposed);
  void write_half(const float* from, int64_t count, int64_t step, uint16_t* to);

  const Kernels kernels_;
  const bool exact_;
  std::shared_ptr<MemoryPool> memory_;
  ThreadPool threads_;
  Activations activations_;
  std::vector<std::shared_ptr<CpuBuffer>> scratch_;  // one per thread

  // cos and sin of the last call: every layer rotates q and k by the same angles.
  struct RopeTable {
    std::vector<int32_t> positions;
    std::vector<float> inverse_freqs;
    float factor = 0;
    std::vector<float> cos_sin;  // [rows, 2, rotary_dims / 2]
  } rope_;
};

}  // namespace exo::cpu
