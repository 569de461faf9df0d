// AVX-VNNI: four byte products at a time into 32 bits, in 256-bit registers (processors without
// AVX-512 have it too).
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx2.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/int8_avx2.inc"
// clang-format on

namespace exo::cpu {
namespace {

// Weights are the unsigned side, so that what has a sign is read with 128 added.
struct Int8 : Int8Avx2 {
  static constexpr int kSignedBias = 128;
  template <class>
  using DotsOf = Dots;
  static Bytes lookup(const Bytes& codes, const int8_t (&table)[16]) {
    return look_up(codes, table, kSignedBias);
  }
  static Bytes as_signed(const Bytes& b) {
    return make([&](int i) { return _mm256_xor_si256(b.v[i], _mm256_set1_epi8(-128)); });
  }
  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    const __m256i xs = four(x);
    for (int i = 0; i < 2; ++i) d.v[i] = _mm256_dpbusd_avx_epi32(d.v[i], w.v[i], xs);
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_avx_vnni(Kernels& kernels) {
  kernels.level = "avx_vnni";
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
