// AVX-512 F, BW, VL, DQ: wider floats. The int8 kernels stay those of AVX2.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx512.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/attention_kernels.inc"
#include "backend/cpu/float_panels.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct FloatProducts : Products512 {
  static constexpr int kElements = 16;
  static Sum add(Sum x, Sum w, Sum sum) { return _mm512_fmadd_ps(x, w, sum); }
  static Simd add16(Simd x, Simd w, Simd sum) { return Simd::fma(x, w, sum); }
  static const std::byte* x_of(const MatmulArgs& a) {
    return reinterpret_cast<const std::byte*>(a.x);
  }
  static Simd load_n(const std::byte* x, int n) {
    return Simd::load_n(reinterpret_cast<const float*>(x), n);
  }
};

}  // namespace

void fill_avx512(Kernels& kernels) {
  kernels.level = "avx512";
  fill_float_kernels(kernels);
  fill_panel_kernels<FloatProducts>(kernels);
  kernels.attend = attend;
  kernels.attend_span = attend_span;
  kernels.join_spans = join_spans;
}

}  // namespace exo::cpu
