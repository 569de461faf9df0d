// AVX-512 BF16: bf16 weights with activations rounded to bf16, two products per lane and step.
// One order: 16 lanes over pairs of k, lanes summed as the float kernels do.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx512.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/float_panels.inc"
// clang-format on

namespace exo::cpu {
namespace {

constexpr int kPairs = 32;  // elements of a step

inline __m512bh load_bf16_n(const std::byte* p, int64_t n) {
  if (n >= kPairs) return (__m512bh)_mm512_loadu_si512(p);
  return (__m512bh)_mm512_maskz_loadu_epi16(static_cast<__mmask32>((1u << n) - 1), p);
}

template <int R, int O>
inline void bf16_tile(const MatmulArgs& a, int64_t row, int64_t out) {
  const std::byte *x[R], *w[O];
  for (int r = 0; r < R; ++r)
    x[r] = reinterpret_cast<const std::byte*>(a.x_bf16 + (row + r) * a.x_stride);
  for (int o = 0; o < O; ++o) w[o] = a.w + (out + o) * a.w_stride;
  Simd sum[R * O];
  for (int i = 0; i < R * O; ++i) sum[i] = Simd::zero();
  const auto step = [&](int64_t i, int64_t n) {
    __m512bh wv[O];
    for (int o = 0; o < O; ++o) wv[o] = load_bf16_n(w[o] + 2 * i, n);
    for (int r = 0; r < R; ++r) {
      const __m512bh xv = load_bf16_n(x[r] + 2 * i, n);
      for (int o = 0; o < O; ++o) sum[r * O + o].v = _mm512_dpbf16_ps(sum[r * O + o].v, xv, wv[o]);
    }
  };
  int64_t i = 0;
  for (; i + kPairs <= a.k; i += kPairs) step(i, kPairs);
  if (i < a.k) step(i, a.k - i);
  float totals[R * O];
  if constexpr (R * O == kLanes) {
    Simd::store(totals, Simd::sums16(sum));
  } else {
    for (int j = 0; j < R * O; ++j) totals[j] = Simd::sum(sum[j]);
  }
  for (int r = 0; r < R; ++r)
    __builtin_memcpy(a.out + (row + r) * a.out_stride + out, totals + r * O, sizeof(float) * O);
}

void few_rows(const MatmulArgs& args, const Rect& rect) {
  const auto tile = [&]<int R, int O>(int64_t row, int64_t out) {
    bf16_tile<R, O>(args, row, out);
  };
  if (rect.row_end - rect.row_begin < 4)
    for_tiles<1, 8>(rect, tile);
  else
    for_tiles<4, 4>(rect, tile);
}

// As Simds: 16 lanes of two bf16.
struct WeightPairs {
  static constexpr int kBytes = 2;
  static Simd load(const std::byte* row, int64_t i) { return load_n(row, i, kPairs); }
  static Simd load_n(const std::byte* row, int64_t i, int64_t n) {
    return {(__m512)load_bf16_n(row + i * kStepBytes, n)};
  }
};

struct PairProducts : Products512 {
  static constexpr int kElements = kPairs;
  static Sum add(Sum x, Sum w, Sum sum) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
  static Simd add16(Simd x, Simd w, Simd sum) { return {add(x.v, w.v, sum.v)}; }
  static const std::byte* x_of(const MatmulArgs& a) {
    return reinterpret_cast<const std::byte*>(a.x_bf16);
  }
  static Simd load_n(const std::byte* x, int n) { return WeightPairs::load_n(x, 0, n); }
};

void round_bf16(const float* x, int64_t count, uint16_t* out) {
  for_lanes(count, [&](int64_t i, int n) {
    const __m256i bits = (__m256i)_mm512_cvtneps_pbh(load_upto(x + i, n).v);
    _mm256_mask_storeu_epi16(out + i, Simd::mask(n), bits);
  });
}

}  // namespace

void fill_avx512_bf16(Kernels& kernels) {
  kernels.level = "avx512_bf16";
  kernels.matmul_bf16_rounded = panel_matmul<PairProducts, WeightPairs, few_rows>;
  kernels.round_bf16 = round_bf16;
}

}  // namespace exo::cpu
