// Weights of the codebook formats (tensor/dequantize_iq.h) for the int8 kernels: they stay as they
// are stored, and 16 rows at a time are looked up into units of 32 elements, like those of
// interleave.h: a scale in f32 for each row (two where scales change every 16 elements), then eight
// quads of numbers in int8. The numbers are the file's: nothing is rounded. Pure functions,
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::cpu {

int spread_scales(DType dtype);  // of a unit and row; 0: it is no such format
int64_t spread_bytes(DType dtype, int64_t k);
// `rows` <= 16 consecutive stored rows; what is missing is zero.
void spread_group(DType dtype, const std::byte* stored, int64_t rows, int64_t k, std::byte* units);

}  // namespace exo::cpu
