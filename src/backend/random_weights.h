// Made-up numbers and weights in every format, for op cases: they depend on the sizes and the seed
// only. Test support, header only; pure functions.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/host_tensor.h"
#include "tensor/quantize.h"

namespace exo::cases {

// Uniform with the given deviation. (Its own generator: the same numbers with every library.)
inline std::vector<float> random_values(size_t count, uint64_t seed, float deviation = 1.0f) {
  std::vector<float> values(count);
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (float& value : values) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    value = (static_cast<float>(state >> 40) * 0x1p-23f - 1.0f) * 1.7320508f * deviation;
  }
  return values;
}

inline bool has_f32_scale_and_bias(DType dtype) {
  return dtype >= DType::affine2_f32 && dtype <= DType::affine8_f32;
}
inline bool has_zero_point(DType dtype) { return dtype == DType::zero4 || dtype == DType::zero8; }

// Where a block's f16 scales lie; some formats have f32 ones or an exponent at the beginning.
inline std::vector<size_t> scale_offsets(DType dtype) {
  if (dtype == DType::mxfp4 || dtype == DType::f8_32 || has_f32_scale_and_bias(dtype)) return {};
  if (dtype == DType::tq1_0) return {52};
  if (dtype >= DType::affine2 && dtype <= DType::affine8) return {0, 2};
  if (dtype == DType::q2_k) return {80, 82};
  if (dtype == DType::q3_k) return {108};
  if (dtype == DType::q6_k) return {208};
  const bool min =
      dtype == DType::q4_1 || dtype == DType::q5_1 || dtype == DType::q4_k || dtype == DType::q5_k;
  return min ? std::vector<size_t>{0, 2} : std::vector<size_t>{0};
}

// Blocks of any codes and inner scales; their outer scales are near `scale`.
inline std::vector<std::byte> random_blocks(DType dtype, size_t count, uint64_t seed, float scale) {
  std::vector<std::byte> bytes(row_bytes(dtype, static_cast<int64_t>(count)));
  const std::vector<float> noise = random_values(bytes.size(), seed);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(static_cast<int>(noise[i] * 73.0f) & 255);
  const auto block_bytes = static_cast<size_t>(traits(dtype).block_bytes);
  for (size_t at = 0; at < bytes.size(); at += block_bytes) {
    const float mine = scale * (1.0f + 0.2f * noise[at]);
    for (const size_t offset : scale_offsets(dtype)) {
      const uint16_t half = f32_to_f16(mine);
      std::memcpy(bytes.data() + at + offset, &half, sizeof(half));
    }
    if (dtype == DType::mxfp4)
      bytes[at] = static_cast<std::byte>(127 + std::ilogb(mine) + static_cast<int>(at % 3));
    if (has_zero_point(dtype)) {
      const uint16_t zero = f32_to_f16(static_cast<float>(at % 17));
      std::memcpy(bytes.data() + at + 2, &zero, sizeof(zero));
    }
    if (has_f32_scale_and_bias(dtype))
      for (const size_t offset : {size_t{0}, size_t{4}})
        std::memcpy(bytes.data() + at + offset, &mine, sizeof(mine));
    if (dtype == DType::f8_32) {
      std::memcpy(bytes.data() + at, &mine, sizeof(mine));
      for (size_t i = 4; i < 36; ++i) bytes[at + i] &= std::byte{0xbf};  // no NaN, less range
    }
  }
  return bytes;
}

// A weight stored as `dtype`, of a deviation that keeps a product's near 1.
inline std::vector<std::byte> random_weight(DType dtype, const Shape& shape, uint64_t seed) {
  const auto count = static_cast<size_t>(HostTensor{.shape = shape}.elements());
  const float deviation = 1.0f / std::sqrt(static_cast<float>(shape.back()));
  if (traits(dtype).block_size == 1 || dtype == DType::q8_0 || dtype == DType::q4_0) {
    std::vector<std::byte> bytes(row_bytes(dtype, static_cast<int64_t>(count)));
    from_f32(dtype, random_values(count, seed, deviation), bytes.data());
    return bytes;
  }
  std::vector<float> values(count);
  to_f32(dtype, random_blocks(dtype, count, seed, 1.0f).data(), values);
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  const double unit = std::sqrt(squares / static_cast<double>(count));
  return random_blocks(dtype, count, seed, deviation / static_cast<float>(unit));
}

}  // namespace exo::cases
