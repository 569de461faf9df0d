// AVX2, FMA and F16C.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/int8_avx2.h"
#include "backend/cpu/simd_avx2.h"
#include "backend/cpu/float_kernels.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8Avx2 {
  static constexpr int kBiasQ8 = 0, kBiasQ4 = 8;
  // Pairs of 8-bit products are added in 16 bits: weights of +-128 would overflow as unsigned, so
  // the sign of w moves to x. |w| * 127 * 2 fits.
  static __m256i dot_signed(__m256i w, __m256i x) {
    return dot_unsigned(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  }
  static __m256i dot_unsigned(__m256i w, __m256i x) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
  }
  static Sums dot_q8(const std::byte* w, Activation x) { return dot_signed(load256(w), x); }
  static Sums dot_q4(const std::byte* w, Activation x) { return dot_unsigned(nibbles(w), x); }
};

// 8 outputs of all k, repacked: for each block, 8 groups of 4 elements, for each group 8 outputs.
constexpr int kPanelOuts = 8;

template <class Format>
void pack_panel(const MatmulArgs& a, int64_t out, int8_t* quants, float* scales) {
  for (int64_t b = 0; b < a.k / 32; ++b) {
    const std::byte* at[8];
    __m256i rows[8];
    for (int o = 0; o < 8; ++o) {
      at[o] = a.w + (out + o) * a.w_stride + b * Format::kBytes;
      rows[o] = Format::kBytes == 34
                    ? load256(at[o] + 2)
                    : _mm256_sub_epi8(Int8::nibbles(at[o] + 2), _mm256_set1_epi8(8));
    }
    transpose(rows);
    for (int g = 0; g < 8; ++g) store256(quants + (b * 8 + g) * 32, rows[g]);
    _mm256_storeu_ps(scales + b * 8, Int8::scales(at));
  }
}

template <class Format, int R>
inline void panel_tile(const MatmulArgs& a, int64_t row, int64_t out, const int8_t* quants,
                       const float* scales) {
  const int64_t blocks = a.k / 32;
  __m256 sum[R];
  for (int r = 0; r < R; ++r) sum[r] = _mm256_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b) {
    __m256i dots[R];
    for (int r = 0; r < R; ++r) dots[r] = _mm256_setzero_si256();
    for (int g = 0; g < 8; ++g) {
      const __m256i w = load256(quants + (b * 8 + g) * 32);
      for (int r = 0; r < R; ++r) {
        const auto x = load_as<int32_t>(a.x_q + (row + r) * a.x_stride + b * 32 + g * 4);
        dots[r] = _mm256_add_epi32(dots[r], Int8::dot_signed(w, _mm256_set1_epi32(x)));
      }
    }
    const __m256 w_scales = _mm256_loadu_ps(scales + b * 8);
    for (int r = 0; r < R; ++r) {
      const __m256 x_scale = _mm256_set1_ps(a.x_scales[(row + r) * blocks + b]);
      sum[r] =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r]), _mm256_mul_ps(w_scales, x_scale), sum[r]);
    }
  }
  for (int r = 0; r < R; ++r) _mm256_storeu_ps(a.out + (row + r) * a.out_stride + out, sum[r]);
}

}  // namespace
}  // namespace exo::cpu

// Written over Int8 and the panels.
// clang-format off
#include "backend/cpu/int8_kernels.inc"
#include "backend/cpu/int8_panels.inc"
// clang-format on

namespace exo::cpu {

void fill_avx2(Kernels& kernels) {
  kernels.level = "avx2";
  fill_float_kernels(kernels);
  kernels.matmul_q8_0 = int8_matmul<Q80>;
  kernels.matmul_q4_0 = int8_matmul<Q40>;
}

}  // namespace exo::cpu
