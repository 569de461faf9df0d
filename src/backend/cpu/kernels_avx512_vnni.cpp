// AVX-512 VNNI: four byte products at a time into 32 bits, in 512-bit registers.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_avx512.inc"
#include "backend/cpu/float_kernels.inc"
// clang-format on

namespace exo::cpu {
namespace {

// Weights are the unsigned side, so that what has a sign is read with 128 added.
struct Int8 {
  static constexpr int kTileRows = 4, kTileGroups = 2, kStreams = 2;
  static constexpr int kSignedBias = 128;
  struct Bytes {
    __m512i v;
  };
  using Dots = Bytes;
  template <class>
  using DotsOf = Dots;

  static Bytes load(const std::byte* p) { return {_mm512_loadu_si512(p)}; }
  static void store(uint8_t* p, Bytes b) { _mm512_storeu_si512(p, b.v); }
  template <int N>
  static Bytes shift_right(Bytes b) {
    return {_mm512_srli_epi16(b.v, N)};
  }
  template <int N>
  static Bytes shift_left(Bytes b) {
    return {_mm512_slli_epi16(b.v, N)};
  }
  static Bytes keep(Bytes b, int mask) {
    return {_mm512_and_si512(b.v, _mm512_set1_epi8(static_cast<char>(mask)))};
  }
  static Bytes join(Bytes a, Bytes b) { return {_mm512_or_si512(a.v, b.v)}; }
  static Bytes lookup(Bytes codes, const int8_t (&table)[16]) {
    const __m128i one = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)),
                                      _mm_set1_epi8(-128));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(one), codes.v)};
  }
  static Bytes as_signed(Bytes b) { return {_mm512_xor_si512(b.v, _mm512_set1_epi8(-128))}; }
  template <bool Signed>
  static void dot(Dots& d, Bytes w, const int8_t* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, sizeof bits);
    d.v = _mm512_dpbusd_epi32(d.v, w.v, _mm512_set1_epi32(bits));
  }
  static Simd total(Dots d) { return {_mm512_cvtepi32_ps(d.v)}; }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_avx512_vnni(Kernels& kernels) {
  kernels.level = "avx512_vnni";
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
