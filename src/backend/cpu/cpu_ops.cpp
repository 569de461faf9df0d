#include "backend/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "backend/cpu/interleave.h"
#include "backend/op_shapes.h"
#include "tensor/quantize.h"

namespace exo::cpu {
namespace {

constexpr int64_t kChunk = 16384;  // elements a thread takes at a time

int64_t row_chunk(int64_t width) {
  return std::max<int64_t>(1, kChunk / std::max<int64_t>(width, 1));
}

}  // namespace

CpuOps::CpuOps(const Kernels& kernels, bool exact, int threads, std::shared_ptr<MemoryPool> memory)
    : kernels_(kernels),
      exact_(exact),
      memory_(std::move(memory)),
      threads_(threads),
      scratch_(static_cast<size_t>(threads_.size())) {}

std::shared_ptr<CpuBuffer> CpuOps::buffer(size_t size_bytes) {
  auto taken = CpuBuffer::pooled(memory_, size_bytes);
  CHECK(taken != nullptr, "out of memory for activations");
  return taken;
}

Tensor CpuOps::make(Shape shape) {
  const auto count = static_cast<size_t>(HostTensor{.shape = shape}.elements());
  return {DType::f32, std::move(shape), buffer(count * sizeof(float))};
}

void CpuOps::reserve_scratch(int64_t size_bytes) {
  for (auto& one : scratch_)
    if (!one || one->size_bytes() < static_cast<size_t>(size_bytes))
      one = buffer(static_cast<size_t>(size_bytes));
}

std::byte* CpuOps::scratch(int worker, int64_t size_bytes) {
  CpuBuffer& mine = *scratch_[static_cast<size_t>(worker)];
  CHECK(mine.size_bytes() >= static_cast<size_t>(size_bytes), "scratch not reserved");
  return mine.mutable_data();
}

template <class Body>
Tensor CpuOps::elementwise(const Tensor& x, Body&& body) {
  Tensor out = make(x.shape);
  const int64_t count = HostTensor{.shape = x.shape}.elements();
  threads_.parallel_for(count, kChunk, [&](int64_t begin, int64_t end, int) {
    body(begin, end, mutable_floats(out));
  });
  return out;
}

Tensor CpuOps::embed(const Tensor& table, std::span<const TokenId> ids) {
  Tensor out = make(shapes::embed(table, ids));
  const int64_t width = out.width();
  const bool interleaved = is_interleaved(table.dtype);
  const int64_t stride = interleaved ? interleaved_row_bytes(table.dtype, width)
                                     : static_cast<int64_t>(row_bytes(table.dtype, width));
  const int64_t widened_bytes = kGroupRows * width * int64_t{sizeof(float)};
  if (interleaved) reserve_scratch(widened_bytes);
  threads_.parallel_for(out.rows(), row_chunk(width), [&](int64_t begin, int64_t end, int worker) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t id = ids[static_cast<size_t>(row)],
                    in_group = interleaved ? id % kGroupRows : 0;
      const std::byte* from = buffer_of(table).data() + (id - in_group) * stride;
      float* to = mutable_floats(out) + row * width;
      if (!interleaved) {
        to_f32(table.dtype, from, {to, static_cast<size_t>(width)});
        continue;
      }
      auto* group = reinterpret_cast<float*>(scratch(worker, widened_bytes));
      widen(table.dtype, from, kGroupRows, width, group);
      std::copy_n(group + in_group * width, width, to);
    }
  });
  return out;
}

Tensor CpuOps::rms_norm(const Tensor& x, const Tensor& weight, float eps) {
  Tensor out = make(shapes::rms_norm(x, weight));
  const int64_t width = weight.width();
  const int64_t rows = HostTensor{.shape = x.shape}.elements() / width;
  threads_.parallel_for(rows, row_chunk(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      kernels_.rms_norm(floats(x) + row * width, floats(weight), width, eps,
                        mutable_floats(out) + row * width);
  });
  return out;
}

Tensor CpuOps::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) {
  Tensor out = make(shapes::layer_norm(x, weight, bias));
  const int64_t width = weight.width();
  const int64_t rows = HostTensor{.shape = x.shape}.elements() / width;
  threads_.parallel_for(rows, row_chunk(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      kernels_.layer_norm({floats(x) + row * width, floats(weight), floats(bias), width, eps},
                          mutable_floats(out) + row * width);
  });
  return out;
}

Tensor CpuOps::add(const Tensor& x, const Tensor& y) {
  shapes::same(x, y);
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    const float *a = floats(x), *b = floats(y);
    for (int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
  });
}

Tensor CpuOps::multiply(const Tensor& x, const Tensor& y) {
  shapes::same(x, y);
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    const float *a = floats(x), *b = floats(y);
    for (int64_t i = begin; i < end; ++i) out[i] = a[i] * b[i];
  });
}

Tensor CpuOps::scale(const Tensor& x, float factor) {
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    const float* a = floats(x);
    for (int64_t i = begin; i < end; ++i) out[i] = a[i] * factor;
  });
}

Tensor CpuOps::silu(const Tensor& x) {
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    kernels_.silu(floats(x) + begin, nullptr, end - begin, out + begin);
  });
}

Tensor CpuOps::swiglu(const Tensor& gate, const Tensor& up) {
  shapes::same(gate, up);
  return elementwise(gate, [&](int64_t begin, int64_t end, float* out) {
    kernels_.silu(floats(gate) + begin, floats(up) + begin, end - begin, out + begin);
  });
}

Tensor CpuOps::gelu(const Tensor& x, Gelu kind) {
  constexpr float kRoot = 0.7071067811865476f;       // 1 / sqrt(2)
  constexpr float kTwoOverPi = 0.7978845608028654f;  // sqrt(2 / pi)
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    const float* in = floats(x);
    for (int64_t i = begin; i < end; ++i) {
      const float a = in[i];
      if (kind == Gelu::erf)
        out[i] = 0.5f * a * (1 + std::erf(a * kRoot));
      else if (kind == Gelu::tanh)
        out[i] = 0.5f * a * (1 + std::tanh(kTwoOverPi * (a + 0.044715f * a * a * a)));
      else
        out[i] = a / (1 + std::exp(-1.702f * a));
    }
  });
}

Tensor CpuOps::soft_cap(const Tensor& x, float cap) {
  return elementwise(x, [&](int64_t begin, int64_t end, float* out) {
    const float* in = floats(x);
    for (int64_t i = begin; i < end; ++i) out[i] = cap * std::tanh(in[i] / cap);
  });
}

Tensor CpuOps::clamped_swiglu(const Tensor& gate, const Tensor& up, float limit) {
  shapes::same(gate, up);
  return elementwise(gate, [&](int64_t begin, int64_t end, float* out) {
    const float *a = floats(gate), *b = floats(up);
    for (int64_t i = begin; i < end; ++i) {
      const float g = std::min(a[i], limit), u = std::clamp(b[i], -limit, limit);
      out[i] = (u + 1) * g / (1 + std::exp(-1.702f * g));
    }
  });
}

Tensor CpuOps::concat_columns(const Tensor& x, const Tensor& y) {
  Tensor out = make(shapes::concat_columns(x, y));
  const int64_t width = out.width();
  threads_.parallel_for(x.rows(), row_chunk(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      float* to = mutable_floats(out) + row * width;
      std::copy_n(floats(x) + row * x.width(), x.width(), to);
      std::copy_n(floats(y) + row * y.width(), y.width(), to + x.width());
    }
  });
  return out;
}

Tensor CpuOps::columns(const Tensor& x, int64_t begin, int64_t count) {
  Tensor out = make(shapes::columns(x, begin, count));
  threads_.parallel_for(x.rows(), row_chunk(count), [&](int64_t first, int64_t end, int) {
    for (int64_t row = first; row < end; ++row)
      std::copy_n(floats(x) + row * x.width() + begin, count, mutable_floats(out) + row * count);
  });
  return out;
}

void CpuOps::update_rope_table(std::span<const int32_t> positions, const RopeParams& params) {
  if (rope_.factor == params.attention_factor && rope_.inverse_freqs == params.inverse_freqs &&
      std::ranges::equal(rope_.positions, positions))
    return;
  rope_.positions.assign(positions.begin(), positions.end());
  rope_.inverse_freqs = params.inverse_freqs;
  rope_.factor = params.attention_factor;
  const size_t half = params.inverse_freqs.size();
  rope_.cos_sin.resize(positions.size() * 2 * half);
  const auto rows = static_cast<int64_t>(positions.size());
  threads_.parallel_for(rows, 16, [&](int64_t begin, int64_t end, int) {
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      float* cosines = rope_.cos_sin.data() + row * 2 * half;
      for (size_t i = 0; i < half; ++i) {
        // The angle is a float32 product in Hugging Face's code, and so in its goldens.
        const float angle = static_cast<float>(positions[row]) * params.inverse_freqs[i];
        const auto wide = static_cast<double>(angle);
        cosines[i] = static_cast<float>(std::cos(wide)) * params.attention_factor;
        cosines[half + i] = static_cast<float>(std::sin(wide)) * params.attention_factor;
      }
    }
  });
}

Tensor CpuOps::rope(const Tensor& x, std::span<const int32_t> positions, const RopeParams& params) {
  Tensor out = make(shapes::rope(x, positions, params));
  update_rope_table(positions, params);
  const int64_t width = x.width(), half = params.rotary_dims / 2;
  const int64_t step = params.interleaved ? 2 : 1, other = params.interleaved ? 1 : half;
  threads_.parallel_for(x.rows(), row_chunk(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float *in = floats(x) + row * width, *cosines = rope_.cos_sin.data() + row * 2 * half;
      float* to = mutable_floats(out) + row * width;
      for (int64_t base = 0; base < width; base += params.head_dim) {
        for (int64_t i = 0; i < half; ++i) {
          const int64_t a = base + i * step, b = a + other;
          to[a] = in[a] * cosines[i] - in[b] * cosines[half + i];
          to[b] = in[b] * cosines[i] + in[a] * cosines[half + i];
        }
        std::copy(in + base + 2 * half, in + base + params.head_dim, to + base + 2 * half);
      }
    }
  });
  return out;
}

Tensor CpuOps::gather_rows(const Tensor& x, std::span<const int32_t> rows) {
  Tensor out = make(shapes::gather_rows(x, rows));
  const int64_t width = x.width();
  threads_.parallel_for(out.rows(), row_chunk(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      std::copy_n(floats(x) + rows[static_cast<size_t>(i)] * width, width,
                  mutable_floats(out) + i * width);
  });
  return out;
}

Tensor CpuOps::replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) {
  Tensor out = make(shapes::replace_rows(x, y, rows));
  const int64_t width = x.width();
  std::copy_n(floats(x), x.rows() * width, mutable_floats(out));
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(floats(y) + static_cast<int64_t>(i) * width, width,
                mutable_floats(out) + rows[i] * width);
  return out;
}

Tensor CpuOps::add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
                        std::span<const float> weights) {
  Tensor out = make(shapes::add_rows(sum, y, rows, weights));
  const int64_t width = sum.width();
  std::copy_n(floats(sum), sum.rows() * width, mutable_floats(out));
  // Split over columns: rows may name the same target twice.
  threads_.parallel_for(width, std::max<int64_t>(64, kChunk / std::max<int64_t>(1, y.rows())),
                        [&](int64_t begin, int64_t end, int) {
                          for (size_t i = 0; i < rows.size(); ++i) {
                            const float* from = floats(y) + static_cast<int64_t>(i) * width;
                            float* to = mutable_floats(out) + rows[i] * width;
                            for (int64_t c = begin; c < end; ++c) to[c] += weights[i] * from[c];
                          }
                        });
  return out;
}

Routing CpuOps::route(const Tensor& logits, const RouteParams& params) {
  shapes::route(logits, params);
  std::span<const float> bias;
  if (params.bias != nullptr)
    bias = {floats(*params.bias), static_cast<size_t>(params.bias->width())};
  const auto count = static_cast<size_t>(logits.rows() * logits.width());
  return choose_experts({floats(logits), count}, logits.rows(), bias, params);
}

std::vector<TokenId> CpuOps::argmax(const Tensor& logits) {
  std::vector<TokenId> best(static_cast<size_t>(logits.rows()));
  threads_.parallel_for(logits.rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* values = floats(logits) + row * logits.width();
      best[static_cast<size_t>(row)] =
          static_cast<TokenId>(std::max_element(values, values + logits.width()) - values);
    }
  });
  return best;
}

Ops::TopK CpuOps::top_k(const Tensor& logits, int k) {
  shapes::top_k(logits, k);
  const auto count = static_cast<size_t>(k);
  TopK best;
  best.ids.resize(static_cast<size_t>(logits.rows()) * count);
  best.values.resize(best.ids.size());
  threads_.parallel_for(logits.rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (auto row = static_cast<size_t>(begin); row < static_cast<size_t>(end); ++row) {
      const auto width = static_cast<size_t>(logits.width());
      const float* values = floats(logits) + row * width;
      std::vector<TokenId> order(width);
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](TokenId a, TokenId b) {
        return values[a] > values[b] || (values[a] == values[b] && a < b);
      });
      for (size_t i = 0; i < count; ++i) {
        best.ids[row * count + i] = order[i];
        best.values[row * count + i] = values[order[i]];
      }
    }
  });
  return best;
}

}  // namespace exo::cpu
