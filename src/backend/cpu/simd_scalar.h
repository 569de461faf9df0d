// 16 lanes as an array; the compiler vectorises the loops as far as the base machine goes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

struct Simd {
  static constexpr int kTileRows = 2, kTileOuts = 2;
  float f[16];

  template <class F>
  static Simd make(F&& lane) {
    Simd v;
    for (int i = 0; i < 16; ++i) v.f[i] = lane(i);
    return v;
  }
  template <class T>
  static T read(const void* p) {
    T value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
  }
  static float float_of(uint32_t bits) { return read<float>(&bits); }
  static uint32_t bits_of(float value) { return read<uint32_t>(&value); }

  static Simd zero() { return set1(0.0f); }
  static Simd set1(float x) {
    return make([&](int) { return x; });
  }
  static Simd load(const float* p) { return read<Simd>(p); }
  static Simd load_n(const float* p, int n) {
    return make([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static void store(float* p, const Simd& v) { __builtin_memcpy(p, v.f, sizeof v.f); }
  static void store_n(float* p, const Simd& v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v.f[i];
  }
  static Simd load_bf16(const std::byte* p) {
    return make(
        [&](int i) { return float_of(static_cast<uint32_t>(read<uint16_t>(p + 2 * i)) << 16); });
  }
  static float half_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t magnitude = bits & 0x7fffu;
    const float small = static_cast<float>(magnitude) * 0x1p-24f;  // zero and subnormals
    const uint32_t wide =
        magnitude >= 0x7c00u ? (magnitude << 13) + 0x70000000u : (magnitude << 13) + 0x38000000u;
    return float_of(sign | (magnitude < 0x400u ? bits_of(small) : wide));
  }
  static uint16_t float_to_half(float value) {
    const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    const uint32_t sign = (bits >> 16) & 0x8000u;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (magnitude < 0x38800000u)
      return static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    const uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
  }
  static Simd load_f16(const std::byte* p) {
    return make([&](int i) { return half_to_float(read<uint16_t>(p + 2 * i)); });
  }
  static void store_f16(uint16_t* p, const Simd& v) {
    for (int i = 0; i < 16; ++i) p[i] = float_to_half(v.f[i]);
  }
  static Simd load_i8(const std::byte* p) {
    return make([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
  }
  static Simd load_nibbles(const std::byte* p, bool high) {
    return make([&](int i) {
      const int pair = static_cast<int>(p[i]);
      return static_cast<float>((high ? pair >> 4 : pair & 15) - 8);
    });
  }
  static int32_t store_i8(int8_t* p, const Simd& v) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) {
      const float x = v.f[i] > 127.0f ? 127.0f : v.f[i] < -127.0f ? -127.0f : v.f[i];
      const float whole = (x + 0x1.8p23f) - 0x1.8p23f;  // to nearest even
      p[i] = static_cast<int8_t>(whole == whole ? whole : 0.0f);
      sum += p[i];
    }
    return sum;
  }

  static Simd fma(const Simd& a, const Simd& b, const Simd& c) { return a * b + c; }
  friend Simd operator+(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] + b.f[i]; });
  }
  friend Simd operator-(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] - b.f[i]; });
  }
  friend Simd operator*(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] * b.f[i]; });
  }
  static Simd div(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] / b.f[i]; });
  }
  static Simd max(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] > b.f[i] ? a.f[i] : b.f[i]; });
  }
  static Simd min(const Simd& a, const Simd& b) {
    return make([&](int i) { return a.f[i] < b.f[i] ? a.f[i] : b.f[i]; });
  }
  static Simd abs(const Simd& a) {
    return make([&](int i) { return __builtin_fabsf(a.f[i]); });
  }
  static Simd pow2(const Simd& n) {
    return make([&](int i) {
      const float x = n.f[i] == n.f[i] ? n.f[i] : 0.0f;
      return float_of(static_cast<uint32_t>(static_cast<int32_t>(x) + 127) << 23);
    });
  }
  static float sum(const Simd& v) {
    float s[8];
    for (int i = 0; i < 8; ++i) s[i] = v.f[i] + v.f[i + 8];
    for (int i = 0; i < 4; ++i) s[i] += s[i + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
  }
  static float max_over(const Simd& v) {
    float top = v.f[0];
    for (int i = 1; i < 16; ++i) top = v.f[i] > top ? v.f[i] : top;
    return top;
  }
  static float first(const Simd& v) { return v.f[0]; }
  static Simd sums16(const Simd (&v)[16]) {
    return make([&](int i) { return sum(v[i]); });
  }
};

}  // namespace
}  // namespace exo::cpu
