// Dequantising of ggml's formats that look up groups of weights in a codebook (IQ1 to IQ3), and of
// the ternary ones (TQ): one block of 256 weights each, bit for bit what ggml gives. Pure
// functions, thread-safe. dequantize_packed.h is the door to them.
#pragma once

#include <cstdint>

namespace exo::iq {

using Block = void(const uint8_t* in, float* out);

Block iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, tq1_0, tq2_0;

}  // namespace exo::iq
