// AVX2, FMA and F16C.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx2.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/attention_kernels.inc"
#include "backend/cpu/float_panels.inc"
#include "backend/cpu/int8_avx2.inc"
// clang-format on

#include <type_traits>

namespace exo::cpu {
namespace {

// Half the lanes: 12 sums that share 3 + 4 loads.
struct FloatProducts {
  static constexpr int kElements = 16, kParts = 2, kFewRows = 5, kRows = 3, kOuts = 4;
  using Sum = __m256;
  static Sum zero() { return _mm256_setzero_ps(); }
  static Sum load(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
  static void store(float* p, Sum a) { _mm256_store_ps(p, a); }
  static Sum add(Sum x, Sum w, Sum sum) { return _mm256_fmadd_ps(x, w, sum); }
  static Simd add16(const Simd& x, const Simd& w, const Simd& sum) { return Simd::fma(x, w, sum); }
  static const std::byte* x_of(const MatmulArgs& a) {
    return reinterpret_cast<const std::byte*>(a.x);
  }
  static Simd load_n(const std::byte* x, int n) {
    return Simd::load_n(reinterpret_cast<const float*>(x), n);
  }

  static __m256 fold4(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
  static void sums4(const float (*sums)[kLanes], float* out) {
    __m256 s8[4];
    for (int o = 0; o < 4; ++o)
      s8[o] = _mm256_add_ps(_mm256_load_ps(sums[o]), _mm256_load_ps(sums[o] + 8));
    const __m256 even = fold4(s8[0], s8[2]), odd = fold4(s8[1], s8[3]);
    const __m256 s2 =
        _mm256_add_ps(_mm256_shuffle_ps(even, odd, 0x44), _mm256_shuffle_ps(even, odd, 0xee));
    const __m256 s1 =
        _mm256_add_ps(_mm256_shuffle_ps(s2, s2, 0x88), _mm256_shuffle_ps(s2, s2, 0xdd));
    _mm_storeu_ps(out, _mm_movelh_ps(_mm256_castps256_ps128(s1), _mm256_extractf128_ps(s1, 1)));
  }
  static void sums8(const float (*sums)[kLanes], float* out) {
    sums4(sums, out);
    sums4(sums + 4, out + 4);
  }
};

struct Int8 : Int8Avx2 {
  static constexpr int kSignedBias = 0;
  static Bytes lookup(const Bytes& codes, const int8_t (&table)[16]) {
    return look_up(codes, table, 0);
  }
  static Bytes as_signed(const Bytes& b) { return b; }

  // Pairs of products, in 16 bits. With an unsigned 255 they would overflow, so the sign of w moves
  // to x: |w| * 127 * 2 fits.
  template <bool Signed>
  static Bytes pairs(const Bytes& w, __m256i x) {
    if (!Signed) return make([&](int i) { return _mm256_maddubs_epi16(w.v[i], x); });
    Bytes xs = make([&](int i) { return _mm256_sign_epi8(x, w.v[i]); });
    in_step(xs);
    return make([&](int i) { return _mm256_maddubs_epi16(_mm256_abs_epi8(w.v[i]), xs.v[i]); });
  }
  static __m256i add_pairs(__m256i words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }
  // Both halves come this far before either goes on: two chains of instructions side by side keep
  // the multipliers busier than one after the other. Also, compilers like to keep the products and
  // add them at the end: more than there are registers.
  static void in_step(Bytes& b) { asm volatile("" : "+x"(b.v[0]), "+x"(b.v[1])); }

  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    Bytes words = pairs<Signed>(w, four(x));
    in_step(words);
    words = make([&](int i) { return add_pairs(words.v[i]); });
    in_step(words);
    d = make([&](int i) { return _mm256_add_epi32(d.v[i], words.v[i]); });
    in_step(d);
  }

  // Of small weights a whole block's pairs fit 16 bits: 8 * 2 * 15 * 127 < 2^15.
  struct NarrowDots {
    Bytes sums;
  };
  template <bool Signed>
  static void dot(NarrowDots& d, const Bytes& w, const int8_t* x) {
    Bytes words = pairs<Signed>(w, four(x));
    in_step(words);
    d.sums = make([&](int i) { return _mm256_add_epi16(d.sums.v[i], words.v[i]); });
    in_step(d.sums);
  }
  using Int8Avx2::total;
  static Simd total(const NarrowDots& d) {
    return total(make([&](int i) { return add_pairs(d.sums.v[i]); }));
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
  kernels.attend = attend;
  kernels.attend_span = attend_span;
  kernels.join_spans = join_spans;
  fill_panel_kernels<FloatProducts>(kernels);
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
