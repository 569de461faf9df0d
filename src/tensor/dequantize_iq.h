// ggml's formats that look up groups of weights in a codebook (IQ1 to IQ3), and the ternary ones
// (TQ): a block of 256 weights each, as small whole numbers and scales. Each product is, bit for
// bit, the weight that ggml gives. Pure functions, thread-safe. dequantize_packed.h is the door to
// their weights as floats.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace exo::iq {

struct Numbers {
  int8_t values[256];
  float scales[16];  // weight i = values[i] * scales[i / 16]
};

using Reader = void(const uint8_t* block, Numbers& out);
Reader* reader_of(DType dtype);  // nullptr: another kind of format
// Whether scales change every 16 weights; else two neighbours are the same.
bool has_scale_of_16(DType dtype);

}  // namespace exo::iq
