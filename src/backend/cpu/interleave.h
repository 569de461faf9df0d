// How weights in blocks lie in this backend's memory: 16 rows are interleaved, so that a kernel has
// 16 outputs side by side in its lanes. docs/cpu-backend.md draws the layout;
// interleaved_formats.inc reads what interleave.cpp writes. The bytes are as many as in the file
// (3.6 % more for q3_k, 1.5 % for iq4_xs; rows are filled up to a multiple of 16), and the numbers
// are the file's: nothing is rounded. Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::cpu {

constexpr int kGroupRows = 16;

bool is_interleaved(DType dtype);                       // every weight of such a type is
int64_t interleaved_row_bytes(DType dtype, int64_t k);  // a sixteenth of a group
// `rows` <= 16 consecutive stored rows become a group; what is missing is zero.
void interleave_group(DType dtype, const std::byte* stored, int64_t rows, int64_t k,
                      std::byte* group);

}  // namespace exo::cpu
