// Element types of tensors, plain and block-quantised. Block formats are ggml's (their layouts are
// facts of the GGUF format): a row is a whole number of blocks, each `block_size` elements in
// `block_bytes` bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace exo {

// Our own block formats, into which other schemes' weights go (tensor/packed_weight.h): f8_32 is 32
// f8_e4m3 behind their f32 scale. affineN is f16 scale, f16 bias and 32 numbers of N bits one after
// another, lowest bits first (4 and 5 bits are ggml's q4_1 and q5_1): value n * scale + bias;
// affineN_f32 has both in f32. zeroN is f16 scale, f16 zero point and the numbers, four bits as in
// q4_1: value (n - zero) * scale.
enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  i32,
  i64,
  u8,
  i8,
  f8_e4m3,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
  f8_32,
  iq1_s,
  iq1_m,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  tq1_0,
  tq2_0,
  u32,
  affine2,
  affine3,
  affine6,
  affine8,
  affine2_f32,
  affine3_f32,
  affine4_f32,
  affine5_f32,
  affine6_f32,
  affine8_f32,
  zero4,
  zero8
};

struct DTypeTraits {
  std::string_view name;
  int block_size = 1;   // elements
  int block_bytes = 1;  // bytes
};

const DTypeTraits& traits(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);  // "f32", "bf16", "q4_0"

inline size_t row_bytes(DType dtype, int64_t elements) {
  const DTypeTraits& t = traits(dtype);
  return static_cast<size_t>(elements / t.block_size) * static_cast<size_t>(t.block_bytes);
}

float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);   // round to nearest even; NaN stays NaN
float f8_e4m3_to_f32(uint8_t bits);  // 0x7f and 0xff are NaN; there is no infinity
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);

}  // namespace exo
