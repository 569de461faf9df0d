// The dot product extension (ARMv8.2): four signed byte products at a time into 32 bits.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_neon.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/int8_neon.inc"
#include "backend/cpu/int8_neon_dotprod.inc"
// clang-format on

namespace exo::cpu {
namespace {
using Int8 = Int8NeonDotprod;
}
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_neon_dotprod(Kernels& kernels) {
  kernels.level = "neon_dotprod";
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
