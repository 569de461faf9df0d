// Shapes only: every op checks its inputs and returns a tensor without memory, so that a whole
// system can run a model no machine here could hold. For tests and simulations, never for users.
#include <algorithm>
#include <numeric>

#include "backend/op_shapes.h"

namespace exo {
namespace {

class NullBackend : public Backend, public Ops {
 public:
  std::string_view name() const override { return "null"; }
  Ops& ops() override { return *this; }
  Result<Tensor> upload_weight(const HostTensor& weight, WeightFormat format) override {
    TRY(shapes::check_weight(weight));
    return Tensor{shapes::weight_dtype(weight, format), weight.shape, nothing_};
  }
  Result<Tensor> upload(std::span<const float>, Shape shape) override {
    return tensor(std::move(shape));
  }
  Result<Tensor> allocate(DType dtype, Shape shape) override {
    return Tensor{dtype, std::move(shape), nothing_};
  }
  void download(const Tensor&, std::span<float> out) override {
    std::fill(out.begin(), out.end(), 0.0f);
  }
  void sync() override {}
  DType kv_dtype() const override { return DType::f16; }
  uint64_t memory_used_bytes() const override { return 0; }

  Tensor embed(const Tensor& table, std::span<const TokenId> ids) override {
    return tensor(shapes::embed(table, ids));
  }
  Tensor matmul(const Tensor& x, const Tensor& w, const Tensor* bias) override {
    return tensor(shapes::matmul(x, w, bias));
  }
  Tensor grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) override {
    return tensor(shapes::grouped_matmul(x, groups));
  }
  Tensor rms_norm(const Tensor& x, const Tensor& weight, float) override {
    return tensor(shapes::rms_norm(x, weight));
  }
  Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float) override {
    return tensor(shapes::layer_norm(x, weight, bias));
  }
  Tensor add(const Tensor& x, const Tensor& y) override { return tensor(shapes::same(x, y)); }
  Tensor multiply(const Tensor& x, const Tensor& y) override { return tensor(shapes::same(x, y)); }
  Tensor scale(const Tensor& x, float) override { return tensor(x.shape); }
  Tensor silu(const Tensor& x) override { return tensor(x.shape); }
  Tensor gelu(const Tensor& x, Gelu) override { return tensor(x.shape); }
  Tensor soft_cap(const Tensor& x, float) override { return tensor(x.shape); }
  Tensor clamped_swiglu(const Tensor& gate, const Tensor& up, float) override {
    return tensor(shapes::same(gate, up));
  }
  Tensor head_matmul(const Tensor& x, const Tensor& w, int heads) override {
    return tensor(shapes::head_matmul(x, w, heads));
  }
  Tensor concat_columns(const Tensor& x, const Tensor& y) override {
    return tensor(shapes::concat_columns(x, y));
  }
  Tensor columns(const Tensor& x, int64_t begin, int64_t count) override {
    return tensor(shapes::columns(x, begin, count));
  }
  Tensor rope(const Tensor& x, std::span<const int32_t> positions,
              const RopeParams& params) override {
    return tensor(shapes::rope(x, positions, params));
  }
  void kv_write(KvLayer& layer, const Tensor& k, const Tensor& v,
                std::span<const AttentionSpan> spans) override {
    shapes::kv_write(layer, k, v, spans);
  }
  Tensor attention(const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
                   const AttentionParams& params) override {
    return tensor(shapes::attention(q, layer, spans, params));
  }
  Tensor attend_all(const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const RowSpan> spans, const AttentionParams& params) override {
    return tensor(shapes::attend_all(q, k, v, spans, params));
  }
  Tensor replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) override {
    return tensor(shapes::replace_rows(x, y, rows));
  }
  Tensor gather_rows(const Tensor& x, std::span<const int32_t> rows) override {
    return tensor(shapes::gather_rows(x, rows));
  }
  Tensor add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
                  std::span<const float> weights) override {
    return tensor(shapes::add_rows(sum, y, rows, weights));
  }
  // Every token goes to the first experts.
  Routing route(const Tensor& logits, const RouteParams& params) override {
    shapes::route(logits, params);
    Routing routing{params.per_row, {}, {}};
    for (int64_t row = 0; row < logits.rows(); ++row)
      for (int i = 0; i < params.per_row; ++i) routing.experts.push_back(i);
    routing.weights.assign(routing.experts.size(), 1.0f / static_cast<float>(params.per_row));
    return routing;
  }
  std::vector<TokenId> argmax(const Tensor& logits) override {
    return std::vector<TokenId>(static_cast<size_t>(logits.rows()), 0);
  }
  TopK top_k(const Tensor& logits, int k) override {
    shapes::top_k(logits, k);
    TopK best;
    for (int64_t row = 0; row < logits.rows(); ++row)
      for (int i = 0; i < k; ++i) best.ids.push_back(i);
    best.values.assign(best.ids.size(), 0.0f);
    return best;
  }

 private:
  Tensor tensor(Shape shape) const { return {DType::f32, std::move(shape), nothing_}; }
  std::shared_ptr<Buffer> nothing_ = std::make_shared<Buffer>();
};

Result<std::unique_ptr<Backend>> make_null(const BackendOptions&) {
  return std::unique_ptr<Backend>(std::make_unique<NullBackend>());
}

}  // namespace

const BackendFactory& backend_null() {
  static const BackendFactory factory{"null", false, make_null};
  return factory;
}

}  // namespace exo
