// The dot product extension (ARMv8.2): four signed byte products at a time into 32 bits.
#include "backend/cpu/int8_neon.h"
#include "backend/cpu/kernels.h"

namespace exo::cpu {
namespace {

struct Int8 : Int8Neon {
  static constexpr int kBiasQ8 = 0, kBiasQ4 = 0;
  static Sums dot(int8x16x2_t w, Activation x) {
    return vdotq_s32(vdotq_s32(vdupq_n_s32(0), w.val[0], x.val[0]), w.val[1], x.val[1]);
  }
  static Sums dot_q8(const std::byte* w, Activation x) { return dot(load_pair(w), x); }
  static Sums dot_q4(const std::byte* w, Activation x) { return dot(nibbles(w), x); }
};

// 8 outputs of all k, repacked: for each block, 8 groups of 4 elements, for each group 8 outputs.
constexpr int kPanelOuts = 8;

template <class Format>
void pack_panel(const MatmulArgs& a, int64_t out, int8_t* quants, float* scales) {
  for (int64_t b = 0; b < a.k / 32; ++b) {
    const std::byte* at[8];
    for (int o = 0; o < 8; ++o) {
      at[o] = a.w + (out + o) * a.w_stride + b * Format::kBytes;
      const int8x16x2_t row =
          Format::kBytes == 34 ? Int8::load_pair(at[o] + 2) : Int8::nibbles(at[o] + 2);
      int8_t bytes[32];
      vst1q_s8(bytes, row.val[0]);
      vst1q_s8(bytes + 16, row.val[1]);
      for (int g = 0; g < 8; ++g)
        __builtin_memcpy(quants + (b * 8 + g) * 32 + o * 4, bytes + g * 4, 4);
    }
    const Int8::Floats wide = Int8::scales(at);
    Int8::store_n(scales + b * 8, wide, 8);
  }
}

template <class Format, int R>
inline void panel_tile(const MatmulArgs& a, int64_t row, int64_t out, const int8_t* quants,
                       const float* scales) {
  const int64_t blocks = a.k / 32;
  Int8::Floats sum[R];
  for (int r = 0; r < R; ++r) sum[r] = Int8::set1(0.0f);
  for (int64_t b = 0; b < blocks; ++b) {
    int32x4_t low[R], high[R];
    for (int r = 0; r < R; ++r) low[r] = high[r] = vdupq_n_s32(0);
    for (int g = 0; g < 8; ++g) {
      const int8x16x2_t w = Int8::load_pair(quants + (b * 8 + g) * 32);
      for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, a.x_q + (row + r) * a.x_stride + b * 32 + g * 4, sizeof four);
        const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
        low[r] = vdotq_s32(low[r], w.val[0], x);
        high[r] = vdotq_s32(high[r], w.val[1], x);
      }
    }
    const Int8::Floats w_scales{vld1q_f32(scales + b * 8), vld1q_f32(scales + b * 8 + 4)};
    for (int r = 0; r < R; ++r) {
      const Int8::Floats x_scale = Int8::set1(a.x_scales[(row + r) * blocks + b]);
      const Int8::Floats total{vcvtq_f32_s32(low[r]), vcvtq_f32_s32(high[r])};
      sum[r] = Int8::fma(total, Int8::mul(w_scales, x_scale), sum[r]);
    }
  }
  for (int r = 0; r < R; ++r) Int8::store_n(a.out + (row + r) * a.out_stride + out, sum[r], 8);
}

}  // namespace
}  // namespace exo::cpu

// Written over Int8 and the panels.
// clang-format off
#include "backend/cpu/int8_kernels.inc"
#include "backend/cpu/int8_panels.inc"
// clang-format on

namespace exo::cpu {

void fill_neon_dotprod(Kernels& kernels) {
  kernels.level = "neon_dotprod";
  kernels.matmul_q8_0 = int8_matmul<Q80>;
  kernels.matmul_q4_0 = int8_matmul<Q40>;
}

}  // namespace exo::cpu
