// Layouts are facts of the GGUF format (ggml, github.com/ggml-org/ggml, MIT): after its f16 scale a
// block names points of the codebook, signs for their values, and small scales for 16 or 32 of
// them. Compiled without contraction of a * b + c, as dequantize_packed.cpp.
#include "tensor/dequantize_iq.h"

#include <array>
#include <bit>

#include "tensor/block_bytes.h"

namespace exo::iq {
namespace {

#include "tensor/iq_grids.inc"

using Bytes = const uint8_t*;

uint32_t u16_at(Bytes at) { return number_at<uint16_t>(at); }
uint32_t u32_at(Bytes at) { return number_at<uint32_t>(at); }
float number(uint32_t value) { return static_cast<float>(value); }

// What the numbers of a codebook's entries stand for.
constexpr std::array<float, 4> kTwoBits = {8, 25, 43, 0};
constexpr std::array<float, 8> kXxsValues = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::array<float, 8> kOddValues = {1, 3, 5, 7, 9, 11, 13, 15};

// Seven signs are stored; the eighth makes their number even.
uint32_t with_parity(uint32_t signs) {
  return signs | static_cast<uint32_t>(std::popcount(signs) & 1) << 7;
}

// Eight values of one entry of two bits each.
void put_eight(float scale, uint32_t entry, uint32_t signs, float* out) {
  for (int j = 0; j < 8; ++j)
    out[j] = scale * kTwoBits[entry >> 2 * j & 3] * ((signs >> j & 1) != 0 ? -1.0f : 1.0f);
}

// Eight values of two entries of four.
void put_four(float scale, uint32_t first, uint32_t second, const std::array<float, 8>& values,
              uint32_t signs, float* out) {
  const uint32_t entry = first | second << 16;
  for (int j = 0; j < 8; ++j)
    out[j] = scale * values[entry >> 4 * j & 7] * ((signs >> j & 1) != 0 ? -1.0f : 1.0f);
}

// Eight values of -1, 0 and 1, all moved by the same eighth.
void put_ternary(float scale, uint32_t entry, bool down, float* out) {
  const float delta = down ? -0.125f : 0.125f;
  for (int j = 0; j < 8; ++j) out[j] = scale * (number(entry >> 2 * j & 3) - 1 + delta);
}

// The digit of 3^n in a byte that holds five of base three, as a fraction of 256.
float ternary_digit(uint8_t byte, uint32_t power_of_3) {
  const auto low = static_cast<uint8_t>(byte * power_of_3);
  return number(low * 3u >> 8) - 1;
}

}  // namespace

void iq2_xxs(Bytes in, float* out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group, out += 32) {
    const Bytes q = in + 2 + group * 8;
    const uint32_t word = u32_at(q + 4);
    const float scale = d * (0.5f + number(word >> 28)) * 0.25f;
    for (int i = 0; i < 4; ++i)
      put_eight(scale, kIq2Xxs[q[i]], with_parity(word >> 7 * i & 127), out + i * 8);
  }
}

void iq2_xs(Bytes in, float* out) {
  const float d = half_at(in);
  for (int group = 0; group < 16; ++group, out += 16) {
    const uint32_t nibble = in[66 + group / 2] >> (group % 2 * 4) & 15u;
    const float scale = d * (0.5f + number(nibble)) * 0.25f;
    for (int i = 0; i < 2; ++i) {
      const uint32_t q = u16_at(in + 2 + group * 4 + i * 2);
      put_eight(scale, kIq2Xs[q & 511], with_parity(q >> 9), out + i * 8);
    }
  }
}

void iq2_s(Bytes in, float* out) {
  const float d = half_at(in);
  const Bytes low = in + 2, signs = in + 34, high = in + 66, scales = in + 74;
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint32_t nibble = scales[i / 4] >> (i / 2 % 2 * 4) & 15u;
    const float scale = d * (0.5f + number(nibble)) * 0.25f;
    const uint32_t top = high[i / 4] >> (i % 4 * 2) & 3u;
    put_eight(scale, kIq2S[low[i] | top << 8], signs[i], out);
  }
}

void iq3_xxs(Bytes in, float* out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = u32_at(in + 66 + group * 4);
    const float scale = d * (0.5f + number(word >> 28)) * 0.5f;
    for (int i = 0; i < 4; ++i, out += 8) {
      const Bytes q = in + 2 + group * 8 + i * 2;
      put_four(scale, kIq3Xxs[q[0]], kIq3Xxs[q[1]], kXxsValues, with_parity(word >> 7 * i & 127),
               out);
    }
  }
}

void iq3_s(Bytes in, float* out) {
  const float d = half_at(in);
  const Bytes low = in + 2, high = in + 66, signs = in + 74, scales = in + 106;
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint32_t nibble = scales[i / 8] >> (i / 4 % 2 * 4) & 15u;
    const float scale = d * number(1 + 2 * nibble);
    const uint32_t tops = high[i / 4] >> (i % 4 * 2);
    put_four(scale, kIq3S[low[i * 2] | (tops & 1) << 8], kIq3S[low[i * 2 + 1] | (tops & 2) << 7],
             kOddValues, signs[i], out);
  }
}

void iq1_s(Bytes in, float* out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = u16_at(in + 34 + group * 2);
    const float scale = d * number(2 * (word >> 12 & 7) + 1);
    for (int i = 0; i < 4; ++i, out += 8) {
      const uint32_t index = in[2 + group * 4 + i] | (word >> 3 * i & 7) << 8;
      put_ternary(scale, kIq1[index], (word & 0x8000) != 0, out);
    }
  }
}

// The scale of the block lies in the upper nibbles of the words of small scales.
void iq1_m(Bytes in, float* out) {
  const Bytes low = in, high = in + 32, scales = in + 48;
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= u16_at(scales + i * 2) >> 12 << 4 * i;
  const float d = f16_to_f32(static_cast<uint16_t>(bits));
  for (int i = 0; i < 32; ++i, out += 8) {
    const uint32_t small = u16_at(scales + i / 8 * 2) >> (i / 2 % 4 * 3) & 7;
    const uint32_t top = high[i / 2] >> (i % 2 * 4);
    put_ternary(d * number(2 * small + 1), kIq1[low[i] | (top & 7) << 8], (top & 8) != 0, out);
  }
}

// 32 and 16 bytes of five digits each, then 4 of four; equal digits of neighbours follow each
// other.
void tq1_0(Bytes in, float* out) {
  constexpr std::array<uint32_t, 5> kPowers = {1, 3, 9, 27, 81};
  const float d = half_at(in + 52);
  const auto run = [&](Bytes bytes, int count, size_t digits) {
    for (size_t n = 0; n < digits; ++n)
      for (int i = 0; i < count; ++i) *out++ = ternary_digit(bytes[i], kPowers[n]) * d;
  };
  run(in, 32, 5);
  run(in + 32, 16, 5);
  run(in + 48, 4, 4);
}

void tq2_0(Bytes in, float* out) {
  const float d = half_at(in + 64);
  for (int i = 0; i < 256; ++i) {
    const Bytes q = in + i / 128 * 32 + i % 32;
    out[i] = (number(*q >> (i % 128 / 32 * 2) & 3u) - 1) * d;
  }
}

}  // namespace exo::iq
