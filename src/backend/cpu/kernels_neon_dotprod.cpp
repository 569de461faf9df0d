// The dot product extension (ARMv8.2): four signed byte products at a time into 32 bits.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_neon.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/int8_neon.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8Neon {
  struct Dots {
    int32x4_t v[4];
  };
  template <class>
  using DotsOf = Dots;
  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    const int8x16_t xs = four(x);
    for (int i = 0; i < 4; ++i) d.v[i] = vdotq_s32(d.v[i], vreinterpretq_s8_u8(w.v[i]), xs);
  }
  static Simd total(const Dots& d) {
    return Simd::make([&](int i) { return vcvtq_f32_s32(d.v[i]); });
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_neon_dotprod(Kernels& kernels) {
  kernels.level = "neon_dotprod";
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
