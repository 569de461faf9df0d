// AVX-512 VNNI: products of unsigned and signed bytes, four at a time, into 32 bits. Weights are
// the unsigned side (n + 128, or the bare nibble), which adds bias * sum(x) to a block's sum; the
// sums of x are known, so it is taken off again, exactly.
#include "backend/cpu/int8_avx2.h"
#include "backend/cpu/kernels.h"

namespace exo::cpu {
namespace {

struct Int8 : Int8Avx2 {
  static constexpr int kBiasQ8 = 128, kBiasQ4 = 8;
  static __m256i flip(__m256i w) { return _mm256_xor_si256(w, _mm256_set1_epi8(-128)); }
  static Sums dot(__m256i w, Activation x) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x);
  }
  static Sums dot_q8(const std::byte* w, Activation x) { return dot(flip(load256(w)), x); }
  static Sums dot_q4(const std::byte* w, Activation x) { return dot(nibbles(w), x); }
};

// 16 outputs of all k, repacked: for each block, 8 groups of 4 elements, for each group 16 outputs.
constexpr int kPanelOuts = 16;

template <class Format>
void pack_panel(const MatmulArgs& a, int64_t out, int8_t* quants, float* scales) {
  for (int64_t b = 0; b < a.k / 32; ++b) {
    for (int half = 0; half < 2; ++half) {
      const std::byte* at[8];
      __m256i rows[8];
      for (int o = 0; o < 8; ++o) {
        at[o] = a.w + (out + half * 8 + o) * a.w_stride + b * Format::kBytes;
        rows[o] = Format::kBytes == 34 ? Int8::flip(load256(at[o] + 2)) : Int8::nibbles(at[o] + 2);
      }
      transpose(rows);
      for (int g = 0; g < 8; ++g) store256(quants + (b * 8 + g) * 64 + half * 32, rows[g]);
      _mm256_storeu_ps(scales + b * 16 + half * 8, Int8::scales(at));
    }
  }
}

template <class Format, int R>
inline void panel_tile(const MatmulArgs& a, int64_t row, int64_t out, const int8_t* quants,
                       const float* scales) {
  const int64_t blocks = a.k / 32;
  __m512 sum[R];
  for (int r = 0; r < R; ++r) sum[r] = _mm512_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b) {
    __m512i dots[R];
    for (int r = 0; r < R; ++r)
      dots[r] = _mm512_set1_epi32(-Format::kBias * a.x_sums[(row + r) * blocks + b]);
    for (int g = 0; g < 8; ++g) {
      const __m512i w = _mm512_loadu_si512(quants + (b * 8 + g) * 64);
      for (int r = 0; r < R; ++r) {
        int32_t x;
        __builtin_memcpy(&x, a.x_q + (row + r) * a.x_stride + b * 32 + g * 4, sizeof x);
        dots[r] = _mm512_dpbusd_epi32(dots[r], w, _mm512_set1_epi32(x));
      }
    }
    const __m512 w_scales = _mm512_loadu_ps(scales + b * 16);
    for (int r = 0; r < R; ++r) {
      const __m512 x_scale = _mm512_set1_ps(a.x_scales[(row + r) * blocks + b]);
      sum[r] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]), _mm512_mul_ps(w_scales, x_scale), sum[r]);
    }
  }
  for (int r = 0; r < R; ++r) _mm512_storeu_ps(a.out + (row + r) * a.out_stride + out, sum[r]);
}

}  // namespace
}  // namespace exo::cpu

// Written over Int8 and the panels.
// clang-format off
#include "backend/cpu/int8_kernels.inc"
#include "backend/cpu/int8_panels.inc"
// clang-format on

namespace exo::cpu {

void fill_avx512_vnni(Kernels& kernels) {
  kernels.level = "avx512_vnni";
  kernels.matmul_q8_0 = int8_matmul<Q80>;
  kernels.matmul_q4_0 = int8_matmul<Q40>;
}

}  // namespace exo::cpu
