// Block formats and float32. Dequantising gives ggml's values bit for bit; quantising follows its
// rounding rules. Pure functions, thread-safe. `count` is a whole number of blocks (CHECKed);
// non-finite inputs quantise to something finite.
//
// q8_0: f16 scale d, 32 int8 n; value n * d.
// q4_0: f16 scale d, 16 bytes; low nibbles are elements 0..15, high ones 16..31; value (n - 8) * d.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace exo {

bool converts_to_f32(DType dtype);  // f32, f16, bf16 and every block format

// out.size() elements of `dtype` at `in` (alignment does not matter).
void to_f32(DType dtype, const std::byte* in, std::span<float> out);

// f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k.
bool converts_from_f32(DType dtype);
// Into one of these; `out` has row_bytes(dtype, in.size()) bytes.
void from_f32(DType dtype, std::span<const float> in, std::byte* out);

}  // namespace exo
