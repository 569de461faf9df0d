// AVX2, FMA and F16C.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx2.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/int8_avx2.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8Avx2 {
  static constexpr int kSignedBias = 0;
  static Bytes lookup(const Bytes& codes, const int8_t (&table)[16]) {
    return look_up(codes, table, 0);
  }
  static Bytes as_signed(const Bytes& b) { return b; }
  // Pairs of products are added in 16 bits: an unsigned 255 would overflow, so the sign of w moves
  // to x. |w| * 127 * 2 fits.
  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    const __m256i xs = four(x), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 2; ++i) {
      const __m256i pairs =
          Signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w.v[i]), _mm256_sign_epi8(xs, w.v[i]))
                 : _mm256_maddubs_epi16(w.v[i], xs);
      d.v[i] = _mm256_add_epi32(d.v[i], _mm256_madd_epi16(pairs, ones));
    }
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_avx2(Kernels& kernels) {
  kernels.level = "avx2";
  fill_float_kernels(kernels);
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
