// NEON as every 64-bit ARM has it.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_neon.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/attention_kernels.inc"
#include "backend/cpu/int8_neon.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8Neon {
  static constexpr int kTileRows = 2;
  struct Dots {  // two sums for each lane
    int32x4_t v[8];
  };
  template <class>
  using DotsOf = Dots;
  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    const int8x8_t xs = vget_low_s8(four(x));
    for (int i = 0; i < 4; ++i) {  // |products| <= 128 * 127 fit 16 bits, sums of them do not
      const int8x16_t bytes = vreinterpretq_s8_u8(w.v[i]);
      d.v[2 * i] = vpadalq_s16(d.v[2 * i], vmull_s8(vget_low_s8(bytes), xs));
      d.v[2 * i + 1] = vpadalq_s16(d.v[2 * i + 1], vmull_s8(vget_high_s8(bytes), xs));
    }
  }
  static Simd total(const Dots& d) {
    return Simd::make([&](int i) { return vcvtq_f32_s32(vpaddq_s32(d.v[2 * i], d.v[2 * i + 1])); });
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_neon(Kernels& kernels) {
  kernels.level = "neon";
  fill_float_kernels(kernels);
  kernels.attend = attend;
  kernels.attend_span = attend_span;
  kernels.join_spans = join_spans;
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
