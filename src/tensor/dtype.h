// Element types of tensors, plain and block-quantised. Block formats are ggml's (their layouts are
// facts of the GGUF format): a row is a whole number of blocks, each `block_size` elements in
// `block_bytes` bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace exo {

// f8_32 is our own: 32 f8_e4m3 behind their f32 scale, as block-scaled FP8 weights are kept.
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
  f8_32
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
