// The oracle: plain loops, one after another, sums in double. Weights are widened to float32 when
// they are uploaded. Right before fast; every other backend is tested against it.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <numbers>
#include <numeric>

#include "backend/op_shapes.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

using Counter = std::shared_ptr<std::atomic<uint64_t>>;

struct FloatBuffer : Buffer {
  FloatBuffer(size_t count, Counter counter) : values(count), used(std::move(counter)) {
    *used += count * sizeof(float);
  }
  ~FloatBuffer() override { *used -= values.size() * sizeof(float); }
  std::vector<float> values;
  Counter used;
};

std::vector<float>& values_of(const Tensor& tensor) {
  return static_cast<FloatBuffer&>(*tensor.buffer).values;
}
float* row_of(const Tensor& tensor, int64_t row) {
  return values_of(tensor).data() + row * tensor.width();
}

double gelu_of(double x, Gelu kind) {
  switch (kind) {
    case Gelu::erf:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Gelu::tanh:
      return 0.5 * x *
             (1 + std::tanh(std::numbers::sqrt2 * std::numbers::inv_sqrtpi *
                            (x + 0.044715 * x * x * x)));
    case Gelu::quick:
      break;
  }
  return x / (1 + std::exp(-1.702 * x));
}

// Offset of (position, head) in K or V.
size_t kv_offset(const Tensor& kv, const AttentionSpan& span, int64_t position, int64_t head) {
  const int64_t block_size = kv.shape[2];
  const int64_t block = span.blocks[static_cast<size_t>(position / block_size)];
  return static_cast<size_t>(((block * kv.shape[1] + head) * block_size + position % block_size) *
                             kv.shape[3]);
}

class ReferenceBackend : public Backend, public Ops {
 public:
  std::string_view name() const override { return "reference"; }
  Ops& ops() override { return *this; }

  Result<Tensor> upload_weight(const HostTensor& weight, WeightFormat format) override {
    TRY(shapes::check_weight(weight));
    Tensor tensor = TRY(allocate(DType::f32, weight.shape));
    std::vector<float>& values = values_of(tensor);
    to_f32(weight.dtype, weight.bytes.data(), values);
    const DType target = shapes::weight_dtype(weight, format);
    if (target == weight.dtype || target == DType::f32) return tensor;
    std::vector<std::byte> packed(row_bytes(target, weight.elements()));
    from_f32(target, values, packed.data());
    to_f32(target, packed.data(), values);
    return tensor;
  }
  Result<Tensor> upload(std::span<const float> values, Shape shape) override {
    Tensor tensor = TRY(allocate(DType::f32, std::move(shape)));
    CHECK(values_of(tensor).size() == values.size(), "upload: shape and values disagree");
    std::copy(values.begin(), values.end(), values_of(tensor).begin());
    return tensor;
  }
  Result<Tensor> allocate(DType dtype, Shape shape) override {
    CHECK(dtype == DType::f32, "the reference backend computes in f32");
    const auto count = static_cast<size_t>(HostTensor{.shape = shape}.elements());
    try {
      return Tensor{dtype, std::move(shape), std::make_shared<FloatBuffer>(count, used_)};
    } catch (const std::bad_alloc&) {
      return resource_exhausted(fmt::format("no memory for {} MB", count * sizeof(float) >> 20));
    }
  }
  void download(const Tensor& tensor, std::span<float> out) override {
    CHECK(values_of(tensor).size() == out.size(), "download: sizes disagree");
    std::copy(values_of(tensor).begin(), values_of(tensor).end(), out.begin());
  }
  void sync() override {}
  DType kv_dtype() const override { return DType::f32; }
  uint64_t memory_used_bytes() const override { return *used_; }

  Tensor embed(const Tensor& table, std::span<const TokenId> ids) override {
    Tensor out = make(shapes::embed(table, ids));
    for (size_t i = 0; i < ids.size(); ++i)
      std::copy_n(row_of(table, ids[i]), out.width(), row_of(out, static_cast<int64_t>(i)));
    return out;
  }

  Tensor matmul(const Tensor& x, const Tensor& w, const Tensor* bias) override {
    Tensor out = make(shapes::matmul(x, w, bias));
    for (int64_t row = 0; row < x.rows(); ++row) project(x, row, {&w, bias}, out);
    return out;
  }
  Tensor grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) override {
    Tensor out = make(shapes::grouped_matmul(x, groups));
    int64_t row = 0;
    for (const RowGroup& group : groups)
      for (int i = 0; i < group.rows; ++i) project(x, row++, group.by, out);
    return out;
  }

  Tensor rms_norm(const Tensor& x, const Tensor& weight, float eps) override {
    Tensor out = make(shapes::rms_norm(x, weight));
    const auto width = static_cast<size_t>(weight.width());
    const std::vector<float>&in = values_of(x), &gain = values_of(weight);
    for (size_t base = 0; base < in.size(); base += width) {
      double squares = 0;
      for (size_t i = 0; i < width; ++i)
        squares += static_cast<double>(in[base + i]) * in[base + i];
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
      for (size_t i = 0; i < width; ++i)
        values_of(out)[base + i] = static_cast<float>(in[base + i] * factor * gain[i]);
    }
    return out;
  }

  Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) override {
    Tensor out = make(shapes::layer_norm(x, weight, bias));
    const auto width = static_cast<size_t>(weight.width());
    const std::vector<float>&in = values_of(x), &gain = values_of(weight);
    for (size_t base = 0; base < in.size(); base += width) {
      double sum = 0, squares = 0;
      for (size_t i = 0; i < width; ++i) sum += in[base + i];
      const double mean = sum / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i) squares += (in[base + i] - mean) * (in[base + i] - mean);
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
      for (size_t i = 0; i < width; ++i)
        values_of(out)[base + i] =
            static_cast<float>((in[base + i] - mean) * factor * gain[i] + values_of(bias)[i]);
    }
    return out;
  }

  Tensor add(const Tensor& x, const Tensor& y) override {
    return combine(x, y, [](float a, float b) { return a + b; });
  }
  Tensor multiply(const Tensor& x, const Tensor& y) override {
    return combine(x, y, [](float a, float b) { return a * b; });
  }
  Tensor scale(const Tensor& x, float factor) override {
    return combine(x, x, [factor](float a, float) { return a * factor; });
  }
  Tensor silu(const Tensor& x) override {
    return combine(x, x, [](float a, float) {
      return static_cast<float>(a / (1.0 + std::exp(-static_cast<double>(a))));
    });
  }

  Tensor gelu(const Tensor& x, Gelu kind) override {
    return combine(x, x, [kind](float a, float) { return static_cast<float>(gelu_of(a, kind)); });
  }
  Tensor soft_cap(const Tensor& x, float cap) override {
    return combine(x, x, [cap](float a, float) {
      return static_cast<float>(cap * std::tanh(static_cast<double>(a) / cap));
    });
  }
  Tensor clamped_swiglu(const Tensor& gate, const Tensor& up, float limit) override {
    return combine(gate, up, [limit](float a, float b) {
      const double g = std::min(a, limit), u = std::clamp(b, -limit, limit);
      return static_cast<float>((u + 1) * g / (1 + std::exp(-1.702 * g)));
    });
  }
  Tensor head_matmul(const Tensor& x, const Tensor& w, int heads) override {
    Tensor out = make(shapes::head_matmul(x, w, heads));
    const int64_t inner = w.width(), per_head = w.rows() / heads;
    for (int64_t row = 0; row < x.rows(); ++row) {
      for (int64_t o = 0; o < w.rows(); ++o) {
        const float *a = row_of(x, row) + o / per_head * inner, *b = row_of(w, o);
        double sum = 0;
        for (int64_t k = 0; k < inner; ++k) sum += static_cast<double>(a[k]) * b[k];
        row_of(out, row)[o] = static_cast<float>(sum);
      }
    }
    return out;
  }
  Tensor concat_columns(const Tensor& x, const Tensor& y) override {
    Tensor out = make(shapes::concat_columns(x, y));
    for (int64_t row = 0; row < x.rows(); ++row) {
      std::copy_n(row_of(x, row), x.width(), row_of(out, row));
      std::copy_n(row_of(y, row), y.width(), row_of(out, row) + x.width());
    }
    return out;
  }
  Tensor columns(const Tensor& x, int64_t begin, int64_t count) override {
    Tensor out = make(shapes::columns(x, begin, count));
    for (int64_t row = 0; row < x.rows(); ++row)
      std::copy_n(row_of(x, row) + begin, count, row_of(out, row));
    return out;
  }

  Tensor rope(const Tensor& x, std::span<const int32_t> positions,
              const RopeParams& params) override {
    Tensor out = make(shapes::rope(x, positions, params));
    values_of(out) = values_of(x);
    const int half = params.rotary_dims / 2;
    for (int64_t row = 0; row < x.rows(); ++row) {
      for (int64_t base = 0; base < x.width(); base += params.head_dim) {
        const float* in = row_of(x, row) + base;
        float* to = row_of(out, row) + base;
        for (int i = 0; i < half; ++i) {
          const int a = params.interleaved ? 2 * i : i;
          const int b = params.interleaved ? 2 * i + 1 : i + half;
          // The angle is a float32 product in Hugging Face's code, and so in its goldens.
          const float angle = static_cast<float>(positions[static_cast<size_t>(row)]) *
                              params.inverse_freqs[static_cast<size_t>(i)];
          const double c = std::cos(static_cast<double>(angle)) * params.attention_factor;
          const double s = std::sin(static_cast<double>(angle)) * params.attention_factor;
          to[a] = static_cast<float>(in[a] * c - in[b] * s);
          to[b] = static_cast<float>(in[b] * c + in[a] * s);
        }
      }
    }
    return out;
  }

  void kv_write(KvLayer& layer, const Tensor& k, const Tensor& v,
                std::span<const AttentionSpan> spans) override {
    shapes::kv_write(layer, k, v, spans);
    for (const AttentionSpan& span : spans) {
      write_span(layer.k, k, span);
      write_span(layer.v, v, span);
    }
  }

  Tensor attention(const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
                   const AttentionParams& params) override {
    Tensor out = make(shapes::attention(q, layer, spans, params));
    for (const AttentionSpan& span : spans)
      for (int i = 0; i < span.row_count; ++i)
        for (int head = 0; head < params.heads; ++head)
          attend(row_of(q, span.row_begin + i) + static_cast<int64_t>(head) * params.k_dim, layer,
                 span, {span.first_position + i, head}, params,
                 row_of(out, span.row_begin + i) + static_cast<int64_t>(head) * params.v_dim);
    return out;
  }

  Tensor attend_all(const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const RowSpan> spans, const AttentionParams& params) override {
    Tensor out = make(shapes::attend_all(q, k, v, spans, params));
    for (const RowSpan& span : spans) {
      // The same as the last position of a sequence whose keys lie in one block.
      KvLayer layer{make({1, params.kv_heads, span.row_count, params.k_dim}),
                    make({1, params.kv_heads, span.row_count, params.v_dim}), span.row_count};
      const int32_t block = 0;
      const AttentionSpan rows{span.row_begin, span.row_count, 0, {&block, 1}};
      write_span(layer.k, k, rows);
      write_span(layer.v, v, rows);
      for (int i = 0; i < span.row_count; ++i)
        for (int head = 0; head < params.heads; ++head)
          attend(row_of(q, span.row_begin + i) + static_cast<int64_t>(head) * params.k_dim, layer,
                 rows, {span.row_count - 1, head}, params,
                 row_of(out, span.row_begin + i) + static_cast<int64_t>(head) * params.v_dim);
    }
    return out;
  }

  Tensor replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) override {
    Tensor out = make(shapes::replace_rows(x, y, rows));
    values_of(out) = values_of(x);
    for (size_t i = 0; i < rows.size(); ++i)
      std::copy_n(row_of(y, static_cast<int64_t>(i)), y.width(), row_of(out, rows[i]));
    return out;
  }

  Tensor gather_rows(const Tensor& x, std::span<const int32_t> rows) override {
    Tensor out = make(shapes::gather_rows(x, rows));
    for (size_t i = 0; i < rows.size(); ++i)
      std::copy_n(row_of(x, rows[i]), x.width(), row_of(out, static_cast<int64_t>(i)));
    return out;
  }

  Tensor add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
                  std::span<const float> weights) override {
    Tensor out = make(shapes::add_rows(sum, y, rows, weights));
    values_of(out) = values_of(sum);
    for (size_t i = 0; i < rows.size(); ++i) {
      const float* from = row_of(y, static_cast<int64_t>(i));
      float* to = row_of(out, rows[i]);
      for (int64_t c = 0; c < y.width(); ++c) to[c] += weights[i] * from[c];
    }
    return out;
  }
  Routing route(const Tensor& logits, const RouteParams& params) override {
    shapes::route(logits, params);
    std::span<const float> bias;
    if (params.bias != nullptr) bias = values_of(*params.bias);
    return choose_experts(values_of(logits), logits.rows(), bias, params);
  }

  std::vector<TokenId> argmax(const Tensor& logits) override {
    std::vector<TokenId> best;
    for (int64_t row = 0; row < logits.rows(); ++row) {
      const float* values = row_of(logits, row);
      best.push_back(
          static_cast<TokenId>(std::max_element(values, values + logits.width()) - values));
    }
    return best;
  }

  TopK top_k(const Tensor& logits, int k) override {
    shapes::top_k(logits, k);
    TopK best;
    for (int64_t row = 0; row < logits.rows(); ++row) {
      const float* values = row_of(logits, row);
      std::vector<TokenId> order(static_cast<size_t>(logits.width()));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](TokenId a, TokenId b) { return values[a] > values[b]; });
      for (int i = 0; i < k; ++i) {
        best.ids.push_back(order[static_cast<size_t>(i)]);
        best.values.push_back(values[order[static_cast<size_t>(i)]]);
      }
    }
    return best;
  }

 private:
  struct Place {
    int position;
    int head;
  };

  Tensor make(Shape shape) {
    const auto count = static_cast<size_t>(HostTensor{.shape = shape}.elements());
    return {DType::f32, std::move(shape), std::make_shared<FloatBuffer>(count, used_)};
  }

  static void project(const Tensor& x, int64_t row, const Projection& by, Tensor& out) {
    for (int64_t o = 0; o < by.w->rows(); ++o) {
      const float *a = row_of(x, row), *b = row_of(*by.w, o);
      double sum = by.bias ? values_of(*by.bias)[static_cast<size_t>(o)] : 0.0;
      for (int64_t k = 0; k < x.width(); ++k) sum += static_cast<double>(a[k]) * b[k];
      row_of(out, row)[o] = static_cast<float>(sum);
    }
  }

  template <class F>
  Tensor combine(const Tensor& x, const Tensor& y, F&& f) {
    Tensor out = make(shapes::same(x, y));
    std::transform(values_of(x).begin(), values_of(x).end(), values_of(y).begin(),
                   values_of(out).begin(), f);
    return out;
  }

  static void write_span(const Tensor& kv, const Tensor& rows, const AttentionSpan& span) {
    const int64_t dim = kv.shape[3];
    for (int i = 0; i < span.row_count; ++i)
      for (int64_t head = 0; head < kv.shape[1]; ++head)
        std::copy_n(row_of(rows, span.row_begin + i) + head * dim, dim,
                    values_of(kv).data() + kv_offset(kv, span, span.first_position + i, head));
  }

  static void attend(const float* q, const KvLayer& layer, const AttentionSpan& span, Place place,
                     const AttentionParams& params, float* out) {
    const int kv_head = place.head / (params.heads / params.kv_heads);
    const int first = params.window > 0 ? std::max(0, place.position - params.window + 1) : 0;
    std::vector<double> scores;
    for (int p = first; p <= place.position; ++p) {
      const float* k = values_of(layer.k).data() + kv_offset(layer.k, span, p, kv_head);
      double score = 0;
      for (int i = 0; i < params.k_dim; ++i) score += static_cast<double>(q[i]) * k[i];
      score *= params.scale;
      if (params.soft_cap > 0) score = params.soft_cap * std::tanh(score / params.soft_cap);
      scores.push_back(score);
    }
    double top = *std::max_element(scores.begin(), scores.end());
    if (params.sinks) top = std::max<double>(top, row_of(*params.sinks, 0)[place.head]);
    double total = params.sinks ? std::exp(row_of(*params.sinks, 0)[place.head] - top) : 0.0;
    for (double& score : scores) total += score = std::exp(score - top);
    std::vector<double> sums(static_cast<size_t>(params.v_dim));
    for (int p = first; p <= place.position; ++p) {
      const float* v = values_of(layer.v).data() + kv_offset(layer.v, span, p, kv_head);
      const double weight = scores[static_cast<size_t>(p - first)] / total;
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += weight * v[i];
    }
    std::transform(sums.begin(), sums.end(), out,
                   [](double sum) { return static_cast<float>(sum); });
  }

  Counter used_ = std::make_shared<std::atomic<uint64_t>>(0);
};

Result<std::unique_ptr<Backend>> make_reference(const BackendOptions&) {
  return std::unique_ptr<Backend>(std::make_unique<ReferenceBackend>());
}

}  // namespace

const BackendFactory& backend_reference() {
  static const BackendFactory factory{"reference", true, make_reference};
  return factory;
}

}  // namespace exo
