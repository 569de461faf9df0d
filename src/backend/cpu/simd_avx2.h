// 16 lanes in two 256-bit registers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

struct Simd {
  static constexpr int kTileRows = 2, kTileOuts = 2;
  __m256 lo, hi;

  static __m256i mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Simd zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Simd set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Simd load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Simd load_n(const float* p, int n) {
    return {_mm256_maskload_ps(p, mask(n)), _mm256_maskload_ps(p + 8, mask(n - 8))};
  }
  static void store(float* p, Simd a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }
  static void store_n(float* p, Simd a, int n) {
    _mm256_maskstore_ps(p, mask(n), a.lo);
    _mm256_maskstore_ps(p + 8, mask(n - 8), a.hi);
  }
  static __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static __m256 widen_bf16(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
  }
  static Simd load_bf16(const std::byte* p) { return {widen_bf16(p), widen_bf16(p + 16)}; }
  static Simd load_f16(const std::byte* p) {
    return {_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 16))};
  }
  static float half_to_float(uint16_t bits) { return _cvtsh_ss(bits); }
  static void store_f16(uint16_t* p, Simd a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, 0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, 0));
  }
  static Simd of_i8(__m128i bytes) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  static Simd load_i8(const std::byte* p) { return of_i8(load128(p)); }
  static Simd load_nibbles(const std::byte* p, bool high) {
    const __m128i pairs = load128(p);
    const __m128i nibbles =
        _mm_and_si128(high ? _mm_srli_epi16(pairs, 4) : pairs, _mm_set1_epi8(15));
    return of_i8(_mm_sub_epi8(nibbles, _mm_set1_epi8(8)));
  }
  static __m256i to_i8_range(__m256 a) {
    return _mm256_max_epi32(_mm256_min_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127)),
                            _mm256_set1_epi32(-127));
  }
  static int32_t store_i8(int8_t* p, Simd a) {
    const __m256i low = to_i8_range(a.lo), high = to_i8_range(a.hi);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
    const __m256i s8 = _mm256_add_epi32(low, high);
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }

  static Simd fma(Simd a, Simd b, Simd c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  friend Simd operator+(Simd a, Simd b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
  }
  friend Simd operator-(Simd a, Simd b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
  }
  friend Simd operator*(Simd a, Simd b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
  }
  static Simd div(Simd a, Simd b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static Simd max(Simd a, Simd b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static Simd min(Simd a, Simd b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static Simd abs(Simd a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  static __m256 pow2(__m256 n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static Simd pow2(Simd n) { return {pow2(n.lo), pow2(n.hi)}; }
  static float first(Simd a) { return _mm256_cvtss_f32(a.lo); }
  static float sum(Simd a) {
    const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
  }
  static float max_over(Simd a) {
    const __m256 m8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
  }
  static Simd sums16(const Simd (&v)[16]) {
    float s[16];
    for (int i = 0; i < 16; ++i) s[i] = sum(v[i]);
    return load(s);
  }
};

}  // namespace
}  // namespace exo::cpu
