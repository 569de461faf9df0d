// The int8 matrix extension (ARMv8.6): 2 rows of weights by 2 rows of x, 8 elements at a time. One
// row of x alone takes the dot products.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_neon.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/int8_neon.inc"
#include "backend/cpu/int8_neon_dotprod.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 : Int8NeonDotprod {
  struct Octets {  // register i: elements 0 to 7 of rows 2 i and 2 i + 1
    int8x16_t v[8];
  };
  struct PairDots {  // register i: rows 2 i, 2 i + 1 of weights by two rows of x
    int32x4_t v[8];
  };
  // Two quads of 16 rows.
  static Octets octets(const Bytes& low, const Bytes& high) {
    Octets both;
    for (int i = 0; i < 4; ++i) {
      const int32x4_t a = vreinterpretq_s32_u8(low.v[i]), b = vreinterpretq_s32_u8(high.v[i]);
      both.v[2 * i] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
      both.v[2 * i + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
    }
    return both;
  }
  // Eight elements of x and as many `stride` elements on.
  static void dot_pair(PairDots& d, const Octets& w, const int8_t* x, int64_t stride) {
    const int8x16_t xs = vcombine_s8(vld1_s8(x), vld1_s8(x + stride));
    for (int i = 0; i < 8; ++i) d.v[i] = vmmlaq_s32(d.v[i], w.v[i], xs);
  }
  static void split(const PairDots& d, Dots& first, Dots& second) {
    for (int i = 0; i < 4; ++i) {
      first.v[i] = vuzp1q_s32(d.v[2 * i], d.v[2 * i + 1]);
      second.v[i] = vuzp2q_s32(d.v[2 * i], d.v[2 * i + 1]);
    }
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_neon_i8mm(Kernels& kernels) {
  kernels.level = "neon_i8mm";
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
