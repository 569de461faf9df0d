// What the AVX2 and AVX-512 int8 kernels share: 256-bit blocks of 32 elements.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace exo::cpu {
namespace {

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

struct Int8Avx2 {
  using Activation = __m256i;
  using Sums = __m256i;
  using Floats = __m256;

  static Activation load(const int8_t* p) { return load256(p); }
  // 32 values 0..15 in the order of the elements.
  static __m256i nibbles(const std::byte* p) {
    const __m256i pairs =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i both = _mm256_srlv_epi64(pairs, _mm256_setr_epi64x(0, 0, 4, 4));
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
  }
  static Floats reduce(const Sums (&d)[8], int32_t offset) {
    const __m256i low =
        _mm256_hadd_epi32(_mm256_hadd_epi32(d[0], d[1]), _mm256_hadd_epi32(d[2], d[3]));
    const __m256i high =
        _mm256_hadd_epi32(_mm256_hadd_epi32(d[4], d[5]), _mm256_hadd_epi32(d[6], d[7]));
    const __m256i sums = _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                          _mm256_permute2x128_si256(low, high, 0x31));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, _mm256_set1_epi32(offset)));
  }
  static Floats scales(const std::byte* const (&blocks)[8]) {
    uint16_t bits[8];
    for (int i = 0; i < 8; ++i) __builtin_memcpy(&bits[i], blocks[i], sizeof bits[i]);
    return _mm256_cvtph_ps(_mm_setr_epi16(
        static_cast<short>(bits[0]), static_cast<short>(bits[1]), static_cast<short>(bits[2]),
        static_cast<short>(bits[3]), static_cast<short>(bits[4]), static_cast<short>(bits[5]),
        static_cast<short>(bits[6]), static_cast<short>(bits[7])));
  }
  static Floats set1(float x) { return _mm256_set1_ps(x); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static void store_n(float* p, Floats v, int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes), v);
  }
};

// 8 rows of 8 32-bit items become 8 columns.
inline void transpose(__m256i (&r)[8]) {
  __m256i t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      u[i + 2 * j] = _mm256_unpacklo_epi64(t[i + j], t[i + j + 2]);
      u[i + 2 * j + 1] = _mm256_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

}  // namespace
}  // namespace exo::cpu
