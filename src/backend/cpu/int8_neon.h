// What the NEON int8 kernels share: blocks of 32 elements in two 128-bit registers.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

struct Int8Neon {
  using Activation = int8x16x2_t;
  using Sums = int32x4_t;
  struct Floats {
    float32x4_t low, high;
  };

  static int8x16x2_t load_pair(const void* p) {
    const auto* bytes = static_cast<const int8_t*>(p);
    return {{vld1q_s8(bytes), vld1q_s8(bytes + 16)}};
  }
  static Activation load(const int8_t* p) { return load_pair(p); }
  // 32 values -8..7 in the order of the elements.
  static int8x16x2_t nibbles(const std::byte* p) {
    const uint8x16_t pairs = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
    const int8x16_t eight = vdupq_n_s8(8);
    return {{vsubq_s8(vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15))), eight),
             vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4)), eight)}};
  }
  static int32x4_t reduce4(const Sums* d) {
    return vpaddq_s32(vpaddq_s32(d[0], d[1]), vpaddq_s32(d[2], d[3]));
  }
  static Floats reduce(const Sums (&d)[8], int32_t offset) {
    const int32x4_t taken = vdupq_n_s32(offset);
    return {vcvtq_f32_s32(vsubq_s32(reduce4(d), taken)),
            vcvtq_f32_s32(vsubq_s32(reduce4(d + 4), taken))};
  }
  static Floats scales(const std::byte* const (&blocks)[8]) {
    uint16_t bits[8];
    for (int i = 0; i < 8; ++i) __builtin_memcpy(&bits[i], blocks[i], sizeof bits[i]);
    return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits))),
            vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits + 4)))};
  }
  static Floats set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static Floats mul(Floats a, Floats b) {
    return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)};
  }
  static Floats fma(Floats a, Floats b, Floats c) {
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
  }
  static void store_n(float* p, Floats v, int n) {
    float all[8];
    vst1q_f32(all, v.low);
    vst1q_f32(all + 4, v.high);
    __builtin_memcpy(p, all, sizeof(float) * static_cast<size_t>(n));
  }
};

}  // namespace
}  // namespace exo::cpu
