// 16 lanes in one 512-bit register.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

struct Simd {
  static constexpr int kTileRows = 4, kTileOuts = 4;
  __m512 v;

  static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Simd zero() { return {_mm512_setzero_ps()}; }
  static Simd set1(float x) { return {_mm512_set1_ps(x)}; }
  static Simd load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Simd load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(mask(n), p)}; }
  static void store(float* p, Simd a) { _mm512_storeu_ps(p, a.v); }
  static void store_n(float* p, Simd a, int n) { _mm512_mask_storeu_ps(p, mask(n), a.v); }
  static __m256i load256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static Simd load_bf16(const std::byte* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16))};
  }
  static Simd load_f16(const std::byte* p) { return {_mm512_cvtph_ps(load256(p))}; }
  static float half_to_float(uint16_t bits) { return _cvtsh_ss(bits); }
  static void store_f16(uint16_t* p, Simd a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, 0));
  }
  static Simd load_i8(const std::byte* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load128(p)))};
  }
  static Simd load_nibbles(const std::byte* p, bool high) {
    const __m128i pairs = load128(p);
    const __m128i nibbles =
        _mm_and_si128(high ? _mm_srli_epi16(pairs, 4) : pairs, _mm_set1_epi8(15));
    return {
        _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(nibbles), _mm512_set1_epi32(8)))};
  }
  static int32_t store_i8(int8_t* p, Simd a) {
    const __m512i whole = _mm512_max_epi32(
        _mm512_min_epi32(_mm512_cvtps_epi32(a.v), _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(whole));
    return _mm512_reduce_add_epi32(whole);
  }

  static Simd fma(Simd a, Simd b, Simd c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  friend Simd operator+(Simd a, Simd b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Simd operator-(Simd a, Simd b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Simd operator*(Simd a, Simd b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static Simd div(Simd a, Simd b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Simd max(Simd a, Simd b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Simd min(Simd a, Simd b) { return {_mm512_min_ps(a.v, b.v)}; }
  static Simd abs(Simd a) { return {_mm512_abs_ps(a.v)}; }
  static Simd pow2(Simd n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
  }
  static float first(Simd a) { return _mm512_cvtss_f32(a.v); }
  static float sum(Simd a) {
    const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
  }
  static float max_over(Simd a) { return _mm512_reduce_max_ps(a.v); }

  // The same trees as sum(), for 16 vectors at once.
  static __m512 fold8(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  static __m512 fold4(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  static __m512 fold2(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  }
  static __m512 fold1(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  }
  // Quarter q of the result of four vectors at stride 1 is vector q's four sums.
  static __m512 quarters(const Simd* v, int step) {
    return fold4(fold8(v[0].v, v[step].v), fold8(v[2 * step].v, v[3 * step].v));
  }
  static Simd sums16(const Simd (&v)[16]) {
    const __m512 a = quarters(v, 4), b = quarters(v + 1, 4);
    const __m512 c = quarters(v + 2, 4), d = quarters(v + 3, 4);
    return {fold1(fold2(a, b), fold2(c, d))};
  }
};

}  // namespace
}  // namespace exo::cpu
