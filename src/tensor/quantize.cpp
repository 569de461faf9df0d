#include "tensor/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/block_bytes.h"
#include "tensor/dequantize_packed.h"
#include "tensor/quantize_blocks.h"

namespace exo {
namespace {

constexpr int kBlock = 32;

void store_u16(std::byte* p, uint16_t bits) { std::memcpy(p, &bits, sizeof bits); }

void dequantize_q8_0(const std::byte* in, std::span<float> out) {
  for (size_t base = 0; base < out.size(); base += kBlock, in += 34) {
    const float d = half_at(in);
    for (int i = 0; i < kBlock; ++i)
      out[base + i] = static_cast<float>(static_cast<int8_t>(in[2 + i])) * d;
  }
}

void dequantize_q4_0(const std::byte* in, std::span<float> out) {
  for (size_t base = 0; base < out.size(); base += kBlock, in += 18) {
    const float d = half_at(in);
    for (int i = 0; i < kBlock / 2; ++i) {
      const int pair = std::to_integer<int>(in[2 + i]);
      out[base + i] = static_cast<float>((pair & 15) - 8) * d;
      out[base + i + kBlock / 2] = static_cast<float>((pair >> 4) - 8) * d;
    }
  }
}

// The float is from outside: NaN and values beyond the range must not reach a narrowing cast.
int to_int(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  if (!(value < static_cast<float>(high))) return high;
  return static_cast<int>(value);
}

void quantize_q8_0(std::span<const float> in, std::byte* out) {
  for (size_t base = 0; base < in.size(); base += kBlock, out += 34) {
    float amax = 0;
    for (int i = 0; i < kBlock; ++i) amax = std::max(amax, std::fabs(in[base + i]));
    const float d = amax / 127.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store_u16(out, f32_to_f16(d));
    for (int i = 0; i < kBlock; ++i) {
      const float scaled = std::round(in[base + i] * inverse);
      out[2 + i] = static_cast<std::byte>(
          std::isnan(scaled) ? 0 : static_cast<int8_t>(to_int(scaled, -127, 127)));
    }
  }
}

// The value of largest magnitude maps to -8, so that its sign decides the sign of d.
void quantize_q4_0(std::span<const float> in, std::byte* out) {
  for (size_t base = 0; base < in.size(); base += kBlock, out += 18) {
    float extreme = 0;
    for (int i = 0; i < kBlock; ++i)
      if (std::fabs(in[base + i]) > std::fabs(extreme)) extreme = in[base + i];
    const float d = extreme / -8.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    store_u16(out, f32_to_f16(d));
    std::array<int, kBlock> q;
    for (size_t i = 0; i < kBlock; ++i) q[i] = to_int(in[base + i] * inverse + 8.5f, 0, 15);
    put_nibbles(q, out + 2);
  }
}

template <float (*Convert)(uint16_t)>
void widen(const std::byte* in, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = Convert(number_at<uint16_t>(in + 2 * i));
}
template <uint16_t (*Convert)(float)>
void narrow(std::span<const float> in, std::byte* out) {
  for (size_t i = 0; i < in.size(); ++i) store_u16(out + 2 * i, Convert(in[i]));
}

}  // namespace

bool converts_to_f32(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 ||
         dtype == DType::q8_0 || dtype == DType::q4_0 || is_packed(dtype);
}

bool converts_from_f32(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 ||
         dtype == DType::q8_0 || dtype == DType::q4_0 || quantizes_blocks(dtype);
}

void to_f32(DType dtype, const std::byte* in, std::span<float> out) {
  CHECK(out.size() % static_cast<size_t>(traits(dtype).block_size) == 0, "part of a block");
  switch (dtype) {
    case DType::f32:
      if (!out.empty()) std::memcpy(out.data(), in, out.size_bytes());
      return;
    case DType::f16:
      return widen<f16_to_f32>(in, out);
    case DType::bf16:
      return widen<bf16_to_f32>(in, out);
    case DType::q8_0:
      return dequantize_q8_0(in, out);
    case DType::q4_0:
      return dequantize_q4_0(in, out);
    default:
      return dequantize_packed(dtype, in, out);
  }
}

void from_f32(DType dtype, std::span<const float> in, std::byte* out) {
  CHECK(in.size() % static_cast<size_t>(traits(dtype).block_size) == 0, "part of a block");
  switch (dtype) {
    case DType::f32:
      if (!in.empty()) std::memcpy(out, in.data(), in.size_bytes());
      return;
    case DType::f16:
      return narrow<f32_to_f16>(in, out);
    case DType::bf16:
      return narrow<f32_to_bf16>(in, out);
    case DType::q8_0:
      return quantize_q8_0(in, out);
    case DType::q4_0:
      return quantize_q4_0(in, out);
    default:
      return quantize_blocks(dtype, in, out);
  }
}

}  // namespace exo
