// The level every machine has: plain C++ for the base instruction set.
// The kernels are written over the Simd before them.
// clang-format off
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd_scalar.h"
#include "backend/cpu/float_kernels.inc"
// clang-format on

namespace exo::cpu {
namespace {

struct Int8 {
  static constexpr int kBiasQ8 = 0, kBiasQ4 = 8;
  using Activation = const int8_t*;
  using Sums = int32_t;
  struct Floats {
    float f[8];
  };
  static Activation load(const int8_t* p) { return p; }
  static Sums dot_q8(const std::byte* w, Activation x) {
    int32_t sum = 0;
    for (int i = 0; i < 32; ++i) sum += static_cast<int8_t>(w[i]) * x[i];
    return sum;
  }
  static Sums dot_q4(const std::byte* w, Activation x) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i)
      sum += (static_cast<int>(w[i]) & 15) * x[i] + (static_cast<int>(w[i]) >> 4) * x[i + 16];
    return sum;
  }
  static Floats reduce(const Sums (&dots)[8], int32_t offset) {
    Floats v;
    for (int i = 0; i < 8; ++i) v.f[i] = static_cast<float>(dots[i] - offset);
    return v;
  }
  static Floats scales(const std::byte* const (&blocks)[8]) {
    Floats v;
    for (int i = 0; i < 8; ++i) v.f[i] = Simd::half_to_float(load_as<uint16_t>(blocks[i]));
    return v;
  }
  static Floats set1(float x) { return {{x, x, x, x, x, x, x, x}}; }
  static Floats mul(Floats a, const Floats& b) {
    for (int i = 0; i < 8; ++i) a.f[i] *= b.f[i];
    return a;
  }
  static Floats fma(const Floats& a, const Floats& b, Floats c) {
    for (int i = 0; i < 8; ++i) c.f[i] += a.f[i] * b.f[i];
    return c;
  }
  static void store_n(float* p, const Floats& v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v.f[i];
  }
};

}  // namespace
}  // namespace exo::cpu

#include "backend/cpu/int8_kernels.inc"

namespace exo::cpu {

void fill_scalar(Kernels& kernels) {
  kernels.level = "scalar";
  fill_float_kernels(kernels);
  kernels.matmul_q8_0 = int8_rows<Q80>;
  kernels.matmul_q4_0 = int8_rows<Q40>;
}

}  // namespace exo::cpu
