// Ops: the arithmetic a Backend offers: a small set of primitives, and fused ops whose default body
// composes the primitives, so that a new backend starts correct and gets fast later. One
// conformance suite runs every op case on every backend against reference/, and the same table is
// the op benchmark.
//
// A row's result never depends on its company: the same for any batch size, chunking, thread count
// or layer split on one backend and ISA. Work is split over outputs, never over K; one accumulation
// order per format; fixed attention tiles.
//
// Shapes are the caller's duty (CHECKed); activations are f32 [n, width]; outputs are new tensors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/routing.h"
#include "core/ids.h"

namespace exo {

// Rotary embedding (Su et al. 2021). Pairs are (i, i + rotary_dims/2), as Hugging Face checkpoints
// have them, or (2i, 2i+1) when interleaved.
struct RopeParams {
  int head_dim = 0;
  int rotary_dims = 0;  // <= head_dim, the rest passes through
  bool interleaved = false;
  float attention_factor = 1.0f;  // multiplies cos and sin (yarn's mscale)
  std::vector<float>
      inverse_freqs;  // [rotary_dims / 2], scaling (llama3, yarn, linear ...) already applied
};

// Keys and values of one layer in paged memory.
struct KvLayer {
  Tensor k;  // [blocks, kv_heads, block_size, k_dim]
  Tensor v;  // [blocks, kv_heads, block_size, v_dim]
  int block_size = 0;
};

// The rows of one sequence inside the batch, and where its past lies.
struct AttentionSpan {
  int row_begin = 0;
  int row_count = 0;
  int first_position = 0;           // of row_begin; absolute
  std::span<const int32_t> blocks;  // block table: position p lies in blocks[p / block_size]
  int sequence_length = 0;          // tokens known of it: a prompt's chunks say the whole prompt's
};

struct AttentionParams {
  int heads = 0;
  int kv_heads = 0;
  int k_dim = 0;  // per head
  int v_dim = 0;
  float scale = 0;                // usually 1/sqrt(k_dim)
  int window = 0;                 // 0 = full; W: row at p sees p-W+1 .. p
  float soft_cap = 0;             // 0 = off; else cap * tanh(score / cap)
  const Tensor* sinks = nullptr;  // [heads], an extra logit per head that takes no value (gpt-oss)
};

// Rows that belong together.
struct RowSpan {
  int row_begin = 0;
  int row_count = 0;
};

// A matrix [m, k] that rows go through, and its bias [m] or null.
struct Projection {
  const Tensor* w = nullptr;
  const Tensor* bias = nullptr;
};
// The next rows of a grouped matmul's input go through this one.
struct RowGroup {
  Projection by;
  int rows = 0;
};

enum class Gelu { erf, tanh, quick };  // exact; tanh approximation; x * sigmoid(1.702 x)

class Ops {
 public:
  virtual ~Ops() = default;

  // --- primitives ---
  virtual Tensor embed(const Tensor& table,
                       std::span<const TokenId> ids) = 0;  // table [vocab, d] -> [n, d]
  virtual Tensor matmul(const Tensor& x, const Tensor& w,
                        const Tensor* bias) = 0;  // x [n, k], w [m, k], bias [m] -> [n, m]
  // Each group of rows by its own matrix, as the experts of a mixture: x [n, k], each w [m, k] ->
  // [n, m].
  virtual Tensor grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) = 0;
  virtual Tensor rms_norm(const Tensor& x, const Tensor& weight,
                          float eps) = 0;  // over the last `weight.width()` elements: also per head
  // (x - mean) / sqrt(variance + eps) * weight + bias, over the last `weight.width()` elements
  // (Ba et al. 2016).
  virtual Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            float eps) = 0;
  virtual Tensor add(const Tensor& x, const Tensor& y) = 0;
  virtual Tensor multiply(const Tensor& x, const Tensor& y) = 0;
  virtual Tensor scale(const Tensor& x, float factor) = 0;
  virtual Tensor silu(const Tensor& x) = 0;
  virtual Tensor gelu(const Tensor& x, Gelu kind) = 0;      // Hendrycks and Gimpel 2016
  virtual Tensor soft_cap(const Tensor& x, float cap) = 0;  // cap * tanh(x / cap); tanh with 1
  // (clamp(up, -limit, limit) + 1) * g * sigmoid(1.702 g) with g = min(gate, limit): gpt-oss.
  virtual Tensor clamped_swiglu(const Tensor& gate, const Tensor& up, float limit) = 0;
  // Each head by its own matrix: x [n, heads * a], w [heads * b, a] -> [n, heads * b]. w is f32,
  // f16 or bf16.
  virtual Tensor head_matmul(const Tensor& x, const Tensor& w, int heads) = 0;
  virtual Tensor concat_columns(const Tensor& x,
                                const Tensor& y) = 0;  // [n, a], [n, b] -> [n, a+b]
  virtual Tensor columns(const Tensor& x, int64_t begin,
                         int64_t count) = 0;  // a slice of every row: [n, width] -> [n, count]
  virtual Tensor rope(const Tensor& x, std::span<const int32_t> positions,
                      const RopeParams& params) = 0;  // x [n, heads*head_dim]
  virtual void kv_write(KvLayer& layer, const Tensor& k, const Tensor& v,
                        std::span<const AttentionSpan> spans) = 0;  // k [n, kv_heads*k_dim]
  virtual Tensor attention(
      const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
      const AttentionParams& params) = 0;  // q [n, heads*k_dim] -> [n, heads*v_dim]
  // Every row sees every row of its span: encoders. Without window, soft cap or sinks.
  // q [n, heads*k_dim], k [n, kv_heads*k_dim], v [n, kv_heads*v_dim] -> [n, heads*v_dim]
  virtual Tensor attend_all(const Tensor& q, const Tensor& k, const Tensor& v,
                            std::span<const RowSpan> spans, const AttentionParams& params) = 0;
  virtual Tensor gather_rows(const Tensor& x, std::span<const int32_t> rows) = 0;
  // A copy of x in which row rows[i] is y[i]; no row twice.
  virtual Tensor replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) = 0;
  // A copy of `sum` in which row rows[i] has got weights[i] * y[i] added, i in order.
  virtual Tensor add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
                          std::span<const float> weights) = 0;
  virtual Routing route(const Tensor& logits, const RouteParams& params) = 0;  // [n, experts]
  virtual std::vector<TokenId> argmax(
      const Tensor& logits) = 0;  // one per row; of equal values the lowest id
  struct TopK {
    std::vector<TokenId> ids;
    std::vector<float> values;
  };  // [n, k], best first, ties to the lowest id
  virtual TopK top_k(const Tensor& logits, int k) = 0;

  // --- fused, composed by default ---
  virtual Tensor swiglu(const Tensor& gate, const Tensor& up) { return multiply(silu(gate), up); }
  virtual Tensor norm_matmul(const Tensor& x, const Tensor& norm, float eps, const Tensor& w,
                             const Tensor* bias) {
    return matmul(rms_norm(x, norm, eps), w, bias);
  }
  // The same rows through several matrices: q, k and v, or gate and up.
  virtual std::vector<Tensor> matmuls(const Tensor& x, std::span<const Projection> by) {
    std::vector<Tensor> out;
    for (const Projection& one : by) out.push_back(matmul(x, *one.w, one.bias));
    return out;
  }
  // x + matmul(y, w): the residual add of an output projection.
  virtual Tensor matmul_add(const Tensor& x, const Tensor& y, const Tensor& w, const Tensor* bias) {
    return add(x, matmul(y, w, bias));
  }
};

}  // namespace exo
