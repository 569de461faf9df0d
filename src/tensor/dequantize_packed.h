// Dequantising of ggml's packed formats beyond q8_0 and q4_0, bit for bit what ggml gives, and of
// our own block formats (dtype.h). Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace exo {

bool is_packed(DType dtype);  // every block format but q8_0 and q4_0
// out.size() elements, a whole number of blocks.
void dequantize_packed(DType dtype, const std::byte* in, std::span<float> out);

}  // namespace exo
