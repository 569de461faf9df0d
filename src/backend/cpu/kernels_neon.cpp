// NEON as every 64-bit ARM has it.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/int8_neon.h"
#include "backend/cpu/simd_neon.h"
#include "backend/cpu/float_kernels.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8Neon {
  static constexpr int kBiasQ8 = 0, kBiasQ4 = 0;
  static Sums dot(int8x16x2_t w, Activation x) {
    int32x4_t sum = vdupq_n_s32(0);
    for (int i = 0; i < 2; ++i) {  // |products| <= 128 * 127 fit 16 bits, sums of them do not
      sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(w.val[i]), vget_low_s8(x.val[i])));
      sum = vpadalq_s16(sum, vmull_s8(vget_high_s8(w.val[i]), vget_high_s8(x.val[i])));
    }
    return sum;
  }
  static Sums dot_q8(const std::byte* w, Activation x) { return dot(load_pair(w), x); }
  static Sums dot_q4(const std::byte* w, Activation x) { return dot(nibbles(w), x); }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/int8_kernels.inc"

namespace exo::cpu {

void fill_neon(Kernels& kernels) {
  kernels.level = "neon";
  fill_float_kernels(kernels);
  kernels.matmul_q8_0 = int8_rows<Q80>;
  kernels.matmul_q4_0 = int8_rows<Q40>;
}

}  // namespace exo::cpu
