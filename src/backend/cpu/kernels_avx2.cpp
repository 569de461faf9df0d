// AVX2, FMA and F16C.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx2.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/float_matmul_avx2.inc"
#include "backend/cpu/int8_avx2.inc"
// clang-format on

#include <type_traits>

namespace exo::cpu {
namespace {

struct Int8 : Int8Avx2 {
  static constexpr int kSignedBias = 0;
  static Bytes lookup(const Bytes& codes, const int8_t (&table)[16]) {
    return look_up(codes, table, 0);
  }
  static Bytes as_signed(const Bytes& b) { return b; }

  // Pairs of products, in 16 bits. With an unsigned 255 they would overflow, so the sign of w moves
  // to x: |w| * 127 * 2 fits.
  template <bool Signed>
  static __m256i pairs(__m256i w, __m256i x) {
    return Signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                  : _mm256_maddubs_epi16(w, x);
  }
  static __m256i add_pairs(__m256i words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }
  // Compilers like to keep the products and add them at the end: more than there are registers.
  static void add_now(__m256i& sum) { asm volatile("" : "+x"(sum)); }

  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    const __m256i xs = four(x);
    for (int i = 0; i < 2; ++i) {
      d.v[i] = _mm256_add_epi32(d.v[i], add_pairs(pairs<Signed>(w.v[i], xs)));
      add_now(d.v[i]);
    }
  }

  // Of small weights a whole block's pairs fit 16 bits: 8 * 2 * 15 * 127 < 2^15.
  struct NarrowDots {
    __m256i v[2];
  };
  template <bool Signed>
  static void dot(NarrowDots& d, const Bytes& w, const int8_t* x) {
    const __m256i xs = four(x);
    for (int i = 0; i < 2; ++i) {
      d.v[i] = _mm256_add_epi16(d.v[i], pairs<Signed>(w.v[i], xs));
      add_now(d.v[i]);
    }
  }
  using Int8Avx2::total;
  static Simd total(const NarrowDots& d) {
    return total(make([&](int i) { return add_pairs(d.v[i]); }));
  }
  template <class Codes>
  using DotsOf = std::conditional_t<Codes::kMagnitude <= 15, NarrowDots, Dots>;
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_avx2(Kernels& kernels) {
  kernels.level = "avx2";
  fill_float_kernels(kernels);
  fill_panel_kernels(kernels);
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
