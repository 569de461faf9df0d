// The level every machine has: plain C++ for the base instruction set.
// The kernels are written over the Simd and the Int8 before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_scalar.inc"
#include "backend/cpu/float_kernels.inc"
#include "backend/cpu/attention_kernels.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 {
  static constexpr int kTileRows = 1, kTileGroups = 1, kStreams = 1;
  static constexpr int kSignedBias = 0;
  struct Bytes {
    uint8_t v[64];
  };
  struct Dots {
    int32_t v[16];
  };
  template <class>
  using DotsOf = Dots;

  template <class F>
  static Bytes make(F&& byte) {
    Bytes b;
    for (int i = 0; i < 64; ++i) b.v[i] = static_cast<uint8_t>(byte(i));
    return b;
  }
  static Bytes load(const std::byte* p) { return load_as<Bytes>(p); }
  static void store(uint8_t* p, const Bytes& b) { __builtin_memcpy(p, b.v, sizeof b.v); }
  template <int N>
  static Bytes shift_right(const Bytes& b) {
    return make([&](int i) { return b.v[i] >> N; });
  }
  template <int N>
  static Bytes shift_left(const Bytes& b) {
    return make([&](int i) { return b.v[i] << N; });
  }
  static Bytes keep(const Bytes& b, int mask) {
    return make([&](int i) { return b.v[i] & mask; });
  }
  static Bytes join(const Bytes& a, const Bytes& b) {
    return make([&](int i) { return a.v[i] | b.v[i]; });
  }
  static Bytes lookup(const Bytes& codes, const int8_t (&table)[16]) {
    return make([&](int i) { return table[codes.v[i] & 15]; });
  }
  static Bytes as_signed(const Bytes& b) { return b; }
  template <bool Signed>
  static void dot(Dots& d, const Bytes& w, const int8_t* x) {
    for (int i = 0; i < 64; ++i) d.v[i / 4] += static_cast<int8_t>(w.v[i]) * x[i % 4];
  }
  static Simd total(const Dots& d) {
    return Simd::make([&](int i) { return static_cast<float>(d.v[i]); });
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/interleaved_kernels.inc"

namespace exo::cpu {

void fill_scalar(Kernels& kernels) {
  kernels.level = "scalar";
  fill_float_kernels(kernels);
  kernels.attend = attend;
  kernels.attend_span = attend_span;
  kernels.join_spans = join_spans;
  fill_interleaved_kernels(kernels);
}

}  // namespace exo::cpu
