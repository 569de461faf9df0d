// Quantising of float32 into ggml's formats beyond q8_0 and q4_0. q4_1, q5_0 and q5_1 follow ggml's
// rounding rules; the K formats look for scales by least squares, so their bytes differ from
// ggml's, not what they mean. Pure functions, thread-safe; in.size() is a whole number of blocks;
// what is not finite counts as zero.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/dtype.h"

namespace exo {

bool quantizes_blocks(DType dtype);  // q4_1, q5_0, q5_1, q4_k, q5_k, q6_k
void quantize_blocks(DType dtype, std::span<const float> in, std::byte* out);

}  // namespace exo
