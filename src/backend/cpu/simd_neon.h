// 16 lanes in four 128-bit registers.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

struct Simd {
  static constexpr int kTileRows = 2, kTileOuts = 2;
  float32x4_t v[4];

  template <class F>
  static Simd make(F&& quarter) {
    return {{quarter(0), quarter(1), quarter(2), quarter(3)}};
  }
  static Simd zero() { return set1(0.0f); }
  static Simd set1(float x) {
    return make([&](int) { return vdupq_n_f32(x); });
  }
  static Simd load(const float* p) {
    return make([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static Simd load_n(const float* p, int n) {
    float tail[16] = {};
    __builtin_memcpy(tail, p, sizeof(float) * static_cast<size_t>(n));
    return load(tail);
  }
  static void store(float* p, const Simd& a) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.v[i]);
  }
  static void store_n(float* p, const Simd& a, int n) {
    float all[16];
    store(all, a);
    __builtin_memcpy(p, all, sizeof(float) * static_cast<size_t>(n));
  }
  static uint16x4_t load_u16(const std::byte* p) {
    return vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const uint8_t*>(p)));
  }
  static Simd load_bf16(const std::byte* p) {
    return make(
        [&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(load_u16(p + 8 * i), 15) << 1); });
  }
  static Simd load_f16(const std::byte* p) {
    return make([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(load_u16(p + 8 * i))); });
  }
  static float half_to_float(uint16_t bits) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
  }
  static void store_f16(uint16_t* p, const Simd& a) {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
  }
  static Simd of_i8(int8x16_t bytes) {
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
             vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
  }
  static Simd load_i8(const std::byte* p) {
    return of_i8(vld1q_s8(reinterpret_cast<const int8_t*>(p)));
  }
  static Simd load_nibbles(const std::byte* p, bool high) {
    const uint8x16_t pairs = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
    const uint8x16_t nibbles = high ? vshrq_n_u8(pairs, 4) : vandq_u8(pairs, vdupq_n_u8(15));
    return of_i8(vsubq_s8(vreinterpretq_s8_u8(nibbles), vdupq_n_s8(8)));
  }
  static int32_t store_i8(int8_t* p, const Simd& a) {
    int32_t sum = 0;
    for (int i = 0; i < 4; ++i) {
      const int32x4_t whole =
          vmaxq_s32(vminq_s32(vcvtnq_s32_f32(a.v[i]), vdupq_n_s32(127)), vdupq_n_s32(-127));
      sum += vaddvq_s32(whole);
      for (int j = 0; j < 4; ++j) p[4 * i + j] = static_cast<int8_t>(whole[j]);
    }
    return sum;
  }

  static Simd fma(const Simd& a, const Simd& b, const Simd& c) {
    return make([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  friend Simd operator+(const Simd& a, const Simd& b) {
    return make([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
  }
  friend Simd operator-(const Simd& a, const Simd& b) {
    return make([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
  }
  friend Simd operator*(const Simd& a, const Simd& b) {
    return make([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
  }
  static Simd div(const Simd& a, const Simd& b) {
    return make([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
  }
  static Simd max(const Simd& a, const Simd& b) {
    return make([&](int i) { return vmaxq_f32(a.v[i], b.v[i]); });
  }
  static Simd min(const Simd& a, const Simd& b) {
    return make([&](int i) { return vminq_f32(a.v[i], b.v[i]); });
  }
  static Simd abs(const Simd& a) {
    return make([&](int i) { return vabsq_f32(a.v[i]); });
  }
  static Simd pow2(const Simd& n) {
    return make([&](int i) {
      return vreinterpretq_f32_s32(
          vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23));
    });
  }
  static float first(const Simd& a) { return vgetq_lane_f32(a.v[0], 0); }
  static float sum(const Simd& a) {
    const float32x4_t s4 = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
    const float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
  }
  static float max_over(const Simd& a) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.v[0], a.v[1]), vmaxq_f32(a.v[2], a.v[3])));
  }
  static Simd sums16(const Simd (&v)[16]) {
    float s[16];
    for (int i = 0; i < 16; ++i) s[i] = sum(v[i]);
    return load(s);
  }
};

}  // namespace
}  // namespace exo::cpu
