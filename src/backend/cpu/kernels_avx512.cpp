// AVX-512 F, BW, VL, DQ: wider floats. The int8 kernels stay those of AVX2.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx512.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/attention_kernels.inc"
// clang-format on

namespace exo::cpu {

void fill_avx512(Kernels& kernels) {
  kernels.level = "avx512";
  fill_float_kernels(kernels);
  kernels.attend = attend;
}

}  // namespace exo::cpu
