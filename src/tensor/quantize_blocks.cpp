#include "tensor/quantize_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "tensor/block_bytes.h"

namespace exo {
namespace {

using Out = uint8_t*;

void put_half(Out out, float value) {
  const uint16_t bits = f32_to_f16(std::clamp(value, -65504.0f, 65504.0f));
  std::memcpy(out, &bits, sizeof bits);
}
float half_of(float value) {
  return f16_to_f32(f32_to_f16(std::clamp(value, -65504.0f, 65504.0f)));
}

int nearest(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  if (!(value < static_cast<float>(high))) return high;
  return static_cast<int>(std::lrintf(value));
}
// As ggml rounds: down, after a half was added.
int rounded_down(float value, int high) {
  return !(value > 0) ? 0 : value < static_cast<float>(high) ? static_cast<int>(value) : high;
}
float inverse_of(float value) { return value != 0 ? 1.0f / value : 0.0f; }

// The extreme maps to -16, so that its sign decides the sign of d.
void q5_0(const float* x, Out out) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const float d = extreme / -16, inverse = inverse_of(d);
  std::array<int, 32> q;
  for (size_t i = 0; i < 32; ++i) q[i] = rounded_down(x[i] * inverse + 16.5f, 31);
  put_half(out, d);
  put_fifth_bits(q, out + 2);
  put_nibbles(q, out + 6);
}

template <int kTop>
void with_minimum(const float* x, Out out) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = (*high - *low) / kTop, inverse = inverse_of(d);
  std::array<int, 32> q;
  for (size_t i = 0; i < 32; ++i) q[i] = rounded_down((x[i] - *low) * inverse + 0.5f, kTop);
  put_half(out, d);
  put_half(out + 2, *low);
  if (kTop > 15) put_fifth_bits(q, out + 4);
  put_nibbles(q, out + (kTop > 15 ? 8 : 4));
}

// x ~ scale * q - minimum with q in 0..top and neither negative.
struct ScaleMin {
  float scale = 0;
  float minimum = 0;
};

struct Fit {
  ScaleMin found;
  double error = 0;
};

// The best scale and minimum for the q that `inverse` and `minimum` round to.
Fit fit_once(const float* x, int top, float inverse, float minimum) {
  double sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0, sum_xx = 0;
  for (int i = 0; i < 32; ++i) {
    const double q = nearest((x[i] + minimum) * inverse, 0, top), value = x[i];
    sum_q += q, sum_qq += q * q, sum_x += value, sum_qx += q * value, sum_xx += value * value;
  }
  const double determinant = 32 * sum_qq - sum_q * sum_q;
  double scale = 0, offset = 0;
  if (determinant > 0) {
    scale = (32 * sum_qx - sum_q * sum_x) / determinant;
    offset = (sum_qq * sum_x - sum_q * sum_qx) / determinant;
  }
  if (offset > 0 || determinant <= 0) {  // minima cannot be positive
    offset = 0;
    scale = sum_qq > 0 ? sum_qx / sum_qq : 0;
  }
  scale = std::max(scale, 0.0);
  const double error = sum_xx + scale * scale * sum_qq + 32 * offset * offset -
                       2 * (scale * sum_qx + offset * sum_x - scale * offset * sum_q);
  return {{static_cast<float>(scale), static_cast<float>(-offset)}, error};
}

ScaleMin fit(const float* x, int top) {
  const auto [low_at, high_at] = std::minmax_element(x, x + 32);
  const float low = std::min(*low_at, 0.0f), width = *high_at - low;
  if (!(width > 0)) return {0, -low};
  Fit best = fit_once(x, top, static_cast<float>(top) / width, -low);
  for (int step = -10; step <= 10; ++step) {
    const float inverse = (static_cast<float>(top) + 0.1f * static_cast<float>(step)) / width;
    Fit one = fit_once(x, top, inverse, -low);
    const Fit again = fit_once(x, top, inverse_of(one.found.scale), one.found.minimum);
    if (again.error < one.error) one = again;
    if (one.error < best.error) best = one;
  }
  return best.found;
}

// Eight groups of 32 with scales and minima of six bits under two of float16.
struct Grouped {
  float d = 0, dmin = 0;
  std::array<int, 8> scales, minima;
  std::array<int, 256> q;
};

Grouped group(const float* x, int top) {
  std::array<ScaleMin, 8> wanted;
  float most_scale = 0, most_minimum = 0;
  for (size_t g = 0; g < 8; ++g) {
    wanted[g] = fit(x + g * 32, top);
    most_scale = std::max(most_scale, wanted[g].scale);
    most_minimum = std::max(most_minimum, wanted[g].minimum);
  }
  Grouped out;
  out.d = half_of(most_scale / 63);
  out.dmin = half_of(most_minimum / 63);
  for (size_t g = 0; g < 8; ++g) {
    out.scales[g] = nearest(wanted[g].scale * inverse_of(out.d), 0, 63);
    out.minima[g] = nearest(wanted[g].minimum * inverse_of(out.dmin), 0, 63);
    const float inverse = inverse_of(out.d * static_cast<float>(out.scales[g]));
    const float minimum = out.dmin * static_cast<float>(out.minima[g]);
    for (size_t i = 0; i < 32; ++i)
      out.q[g * 32 + i] = nearest((x[g * 32 + i] + minimum) * inverse, 0, top);
  }
  return out;
}

void put_scale_mins(const Grouped& in, Out out) {
  std::fill_n(out, 12, uint8_t{0});
  for (size_t g = 0; g < 4; ++g) {
    const int scale = in.scales[g + 4], minimum = in.minima[g + 4];
    out[g] = static_cast<uint8_t>(in.scales[g] | scale >> 4 << 6);
    out[g + 4] = static_cast<uint8_t>(in.minima[g] | minimum >> 4 << 6);
    out[g + 8] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
  }
}

// Pairs of groups share bytes.
void put_group_nibbles(const Grouped& in, Out out) {
  for (size_t pair = 0; pair < 4; ++pair)
    for (size_t i = 0; i < 32; ++i)
      out[pair * 32 + i] =
          static_cast<uint8_t>((in.q[pair * 64 + i] & 15) | (in.q[pair * 64 + 32 + i] & 15) << 4);
}

void q4_k(const float* x, Out out) {
  const Grouped grouped = group(x, 15);
  put_half(out, grouped.d);
  put_half(out + 2, grouped.dmin);
  put_scale_mins(grouped, out + 4);
  put_group_nibbles(grouped, out + 16);
}

void q5_k(const float* x, Out out) {
  const Grouped grouped = group(x, 31);
  put_half(out, grouped.d);
  put_half(out + 2, grouped.dmin);
  put_scale_mins(grouped, out + 4);
  std::fill_n(out + 16, 32, uint8_t{0});
  for (size_t g = 0; g < 8; ++g)
    for (size_t i = 0; i < 32; ++i)
      out[16 + i] |= static_cast<uint8_t>((grouped.q[g * 32 + i] >> 4 & 1) << g);
  put_group_nibbles(grouped, out + 48);
}

// The best scale for 16 numbers of -32..31.
float fit_signed(const float* x) {
  float extreme = 0;
  for (int i = 0; i < 16; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (extreme == 0) return 0;
  float best = 0;
  double most = -1;  // of the error that is taken away
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(32.0f + 0.1f * static_cast<float>(step)) / extreme;
    double sum_qq = 0, sum_qx = 0;
    for (int i = 0; i < 16; ++i) {
      const double q = nearest(x[i] * inverse, -32, 31);
      sum_qq += q * q, sum_qx += q * x[i];
    }
    if (sum_qq <= 0 || sum_qx * sum_qx / sum_qq <= most) continue;
    most = sum_qx * sum_qx / sum_qq;
    best = static_cast<float>(sum_qx / sum_qq);
  }
  return best;
}

// Sixteen groups with scales of int8 under one of float16; layout as in dequantize_packed.cpp.
void q6_k(const float* x, Out out) {
  std::array<float, 16> wanted;
  float extreme = 0;
  for (size_t g = 0; g < 16; ++g) {
    wanted[g] = fit_signed(x + g * 16);
    if (std::fabs(wanted[g]) > std::fabs(extreme)) extreme = wanted[g];
  }
  const float d = half_of(extreme / -128), inverse = inverse_of(d);
  std::fill_n(out, 210, uint8_t{0});
  put_half(out + 208, d);
  for (size_t g = 0; g < 16; ++g) {
    const int scale = nearest(wanted[g] * inverse, -128, 127);
    out[192 + g] = static_cast<uint8_t>(scale);
    const float step = inverse_of(d * static_cast<float>(scale));
    for (size_t i = 0; i < 16; ++i) {
      const int q = nearest(x[g * 16 + i] * step, -32, 31) + 32;
      const size_t half = g / 8, part = g % 8 / 2, at = g % 2 * 16 + i;
      out[half * 64 + part % 2 * 32 + at] |= static_cast<uint8_t>((q & 15) << part / 2 * 4);
      out[128 + half * 32 + at] |= static_cast<uint8_t>(q >> 4 << part * 2);
    }
  }
}

using Block = void (*)(const float* in, Out out);

Block block_of(DType dtype) {
  switch (dtype) {
    case DType::q4_1:
      return with_minimum<15>;
    case DType::q5_0:
      return q5_0;
    case DType::q5_1:
      return with_minimum<31>;
    case DType::q4_k:
      return q4_k;
    case DType::q5_k:
      return q5_k;
    case DType::q6_k:
      return q6_k;
    default:
      return nullptr;
  }
}

}  // namespace

bool quantizes_blocks(DType dtype) { return block_of(dtype) != nullptr; }

void quantize_blocks(DType dtype, std::span<const float> in, std::byte* out) {
  const Block block = block_of(dtype);
  CHECK(block != nullptr, traits(dtype).name);
  const auto size = static_cast<size_t>(traits(dtype).block_size);
  std::array<float, 256> finite;
  for (size_t at = 0; at < in.size(); at += size) {
    for (size_t i = 0; i < size; ++i) finite[i] = std::isfinite(in[at + i]) ? in[at + i] : 0;
    block(finite.data(), reinterpret_cast<Out>(out));
    out += traits(dtype).block_bytes;
  }
}

}  // namespace exo
