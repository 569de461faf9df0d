// Layouts are facts of the GGUF format (ggml, github.com/ggml-org/ggml, MIT): after its f16 scale a
// block names points of the codebook, signs for their values, and small scales for 16 or 32 of
// them. Compiled without contraction of a * b + c, as dequantize_packed.cpp.
#include "tensor/dequantize_iq.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "tensor/block_bytes.h"

namespace exo::iq {
namespace {

#include "tensor/iq_grids.inc"

using Bytes = const uint8_t*;

uint32_t u16_at(Bytes at) { return number_at<uint16_t>(at); }
uint32_t u32_at(Bytes at) { return number_at<uint32_t>(at); }
float number(uint32_t value) { return static_cast<float>(value); }

// What the numbers of a codebook's entries stand for.
constexpr std::array<int8_t, 4> kTwoBits = {8, 25, 43, 0};
constexpr std::array<int8_t, 8> kXxsValues = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::array<int8_t, 8> kOddValues = {1, 3, 5, 7, 9, 11, 13, 15};

// A codebook with an entry's values as bytes, the first lowest.
template <class Word, int Bits, size_t Count, size_t Values>
constexpr std::array<Word, Count> as_bytes(const std::array<uint16_t, Count>& entries,
                                           const std::array<int8_t, Values>& values) {
  std::array<Word, Count> out{};
  for (size_t i = 0; i < Count; ++i)
    for (size_t j = 0; j < sizeof(Word); ++j) {
      const auto value = values[entries[i] >> Bits * j & (Values - 1)];
      out[i] |= static_cast<Word>(static_cast<uint8_t>(value)) << 8 * j;
    }
  return out;
}
constexpr auto kIq2XxsBytes = as_bytes<uint64_t, 2>(kIq2Xxs, kTwoBits);
constexpr auto kIq2XsBytes = as_bytes<uint64_t, 2>(kIq2Xs, kTwoBits);
constexpr auto kIq2SBytes = as_bytes<uint64_t, 2>(kIq2S, kTwoBits);
constexpr auto kIq3XxsBytes = as_bytes<uint32_t, 4>(kIq3Xxs, kXxsValues);
constexpr auto kIq3SBytes = as_bytes<uint32_t, 4>(kIq3S, kOddValues);
// Eight times -1, 0 and 1, each moved by one: up and down.
constexpr std::array<int8_t, 4> kTernaryUp = {-7, 1, 9, 0}, kTernaryDown = {-9, -1, 7, 0};
constexpr auto kIq1UpBytes = as_bytes<uint64_t, 2>(kIq1, kTernaryUp);
constexpr auto kIq1DownBytes = as_bytes<uint64_t, 2>(kIq1, kTernaryDown);

// Eight signs as bytes of 0 or -1.
constexpr std::array<uint64_t, 256> kSigns = [] {
  std::array<uint64_t, 256> signs{};
  for (size_t i = 0; i < signs.size(); ++i)
    for (size_t j = 0; j < 8; ++j)
      if ((i >> j & 1) != 0) signs[i] |= uint64_t{0xff} << 8 * j;
  return signs;
}();
// Seven signs are stored; the eighth makes their number even.
constexpr std::array<uint64_t, 128> kEvenSigns = [] {
  std::array<uint64_t, 128> signs{};
  for (size_t i = 0; i < signs.size(); ++i)
    signs[i] = kSigns[i | static_cast<size_t>(std::popcount(i) & 1) << 7];
  return signs;
}();

void put(uint64_t values, int8_t* out) { std::memcpy(out, &values, sizeof values); }
// None of the values is 0, so that no byte carries into the next.
void put_signed(uint64_t values, uint64_t signs, int8_t* out) {
  put((values ^ signs) + (signs & 0x0101010101010101u), out);
}
uint64_t both(uint32_t first, uint32_t second) { return first | uint64_t{second} << 32; }

// The digit of 3^n in a byte that holds five of base three, as a fraction of 256; less one.
int8_t ternary_digit(uint8_t byte, uint32_t power_of_3) {
  const auto low = static_cast<uint8_t>(byte * power_of_3);
  return static_cast<int8_t>((low * 3 >> 8) - 1);
}

void put_scale_of_32(int group, float scale, Numbers& out) {
  out.scales[group * 2] = out.scales[group * 2 + 1] = scale;
}

void iq2_xxs(Bytes in, Numbers& out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group) {
    const Bytes q = in + 2 + group * 8;
    const uint32_t word = u32_at(q + 4);
    put_scale_of_32(group, d * (0.5f + number(word >> 28)) * 0.25f, out);
    for (int i = 0; i < 4; ++i)
      put_signed(kIq2XxsBytes[q[i]], kEvenSigns[word >> 7 * i & 127],
                 out.values + group * 32 + i * 8);
  }
}

void iq2_xs(Bytes in, Numbers& out) {
  const float d = half_at(in) * 0.25f;
  const Bytes scales = in + 66;
  for (int group = 0; group < 8; ++group) {
    out.scales[group * 2] = d * (0.5f + number(scales[group] & 15u));
    out.scales[group * 2 + 1] = d * (0.5f + number(scales[group] >> 4));
    for (int i = 0; i < 4; ++i) {
      const uint32_t q = u16_at(in + 2 + group * 8 + i * 2);
      put_signed(kIq2XsBytes[q & 511], kEvenSigns[q >> 9], out.values + group * 32 + i * 8);
    }
  }
}

void iq2_s(Bytes in, Numbers& out) {
  const float d = half_at(in) * 0.25f;
  const Bytes low = in + 2, signs = in + 34, high = in + 66, scales = in + 74;
  for (int group = 0; group < 8; ++group) {
    out.scales[group * 2] = d * (0.5f + number(scales[group] & 15u));
    out.scales[group * 2 + 1] = d * (0.5f + number(scales[group] >> 4));
    const uint32_t tops = uint32_t{high[group]} << 8;
    for (int i = 0; i < 4; ++i)
      put_signed(kIq2SBytes[low[group * 4 + i] | (tops >> 2 * i & 0x300)],
                 kSigns[signs[group * 4 + i]], out.values + group * 32 + i * 8);
  }
}

void iq3_xxs(Bytes in, Numbers& out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = u32_at(in + 66 + group * 4);
    put_scale_of_32(group, d * (0.5f + number(word >> 28)) * 0.5f, out);
    for (int i = 0; i < 4; ++i) {
      const Bytes q = in + 2 + group * 8 + i * 2;
      put_signed(both(kIq3XxsBytes[q[0]], kIq3XxsBytes[q[1]]), kEvenSigns[word >> 7 * i & 127],
                 out.values + group * 32 + i * 8);
    }
  }
}

void iq3_s(Bytes in, Numbers& out) {
  const float d = half_at(in);
  const Bytes scales = in + 106;
  for (int pair = 0; pair < 4; ++pair) {
    put_scale_of_32(pair * 2, d * number(1 + 2 * (scales[pair] & 15u)), out);
    put_scale_of_32(pair * 2 + 1, d * number(1 + 2 * (scales[pair] >> 4)), out);
  }
  for (int group = 0; group < 8; ++group) {
    const Bytes low = in + 2 + group * 8, signs = in + 74 + group * 4;
    const uint32_t tops = uint32_t{in[66 + group]} << 8;
    for (int i = 0; i < 4; ++i)
      put_signed(both(kIq3SBytes[low[i * 2] | (tops >> 2 * i & 0x100)],
                      kIq3SBytes[low[i * 2 + 1] | (tops >> (2 * i + 1) & 0x100)]),
                 kSigns[signs[i]], out.values + group * 32 + i * 8);
  }
}

// An eighth of the scale: the numbers are eight times as large.
void iq1_s(Bytes in, Numbers& out) {
  const float d = half_at(in);
  for (int group = 0; group < 8; ++group) {
    const uint32_t word = u16_at(in + 34 + group * 2);
    put_scale_of_32(group, d * number(2 * (word >> 12 & 7) + 1) * 0.125f, out);
    const auto& values = (word & 0x8000) != 0 ? kIq1DownBytes : kIq1UpBytes;
    for (int i = 0; i < 4; ++i)
      put(values[in[2 + group * 4 + i] | (word >> 3 * i & 7) << 8],
          out.values + group * 32 + i * 8);
  }
}

// The scale of the block lies in the upper nibbles of the words of small scales.
void iq1_m(Bytes in, Numbers& out) {
  const Bytes low = in, high = in + 32, scales = in + 48;
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= u16_at(scales + i * 2) >> 12 << 4 * i;
  const float d = f16_to_f32(static_cast<uint16_t>(bits));
  for (int i = 0; i < 32; ++i) {
    const uint32_t small = u16_at(scales + i / 8 * 2) >> (i / 2 % 4 * 3) & 7;
    out.scales[i / 2] = d * number(2 * small + 1) * 0.125f;
    const uint32_t top = high[i / 2] >> (i % 2 * 4);
    const auto& values = (top & 8) != 0 ? kIq1DownBytes : kIq1UpBytes;
    put(values[low[i] | (top & 7) << 8], out.values + i * 8);
  }
}

// 32 and 16 bytes of five digits each, then 4 of four; equal digits of neighbours follow each
// other.
void tq1_0(Bytes in, Numbers& out) {
  constexpr std::array<uint32_t, 5> kPowers = {1, 3, 9, 27, 81};
  for (float& scale : out.scales) scale = half_at(in + 52);
  int8_t* to = out.values;
  const auto run = [&](Bytes bytes, int count, size_t digits) {
    for (size_t n = 0; n < digits; ++n)
      for (int i = 0; i < count; ++i) *to++ = ternary_digit(bytes[i], kPowers[n]);
  };
  run(in, 32, 5);
  run(in + 32, 16, 5);
  run(in + 48, 4, 4);
}

void tq2_0(Bytes in, Numbers& out) {
  for (float& scale : out.scales) scale = half_at(in + 64);
  for (int i = 0; i < 256; ++i) {
    const Bytes q = in + i / 128 * 32 + i % 32;
    out.values[i] = static_cast<int8_t>((*q >> (i % 128 / 32 * 2) & 3) - 1);
  }
}

}  // namespace

Reader* reader_of(DType dtype) {
  constexpr struct {
    DType dtype;
    Reader* read;
  } kReaders[] = {{DType::iq1_s, iq1_s},   {DType::iq1_m, iq1_m}, {DType::iq2_xxs, iq2_xxs},
                  {DType::iq2_xs, iq2_xs}, {DType::iq2_s, iq2_s}, {DType::iq3_xxs, iq3_xxs},
                  {DType::iq3_s, iq3_s},   {DType::tq1_0, tq1_0}, {DType::tq2_0, tq2_0}};
  for (const auto& [known, read] : kReaders)
    if (known == dtype) return read;
  return nullptr;
}

bool has_scale_of_16(DType dtype) {
  return dtype == DType::iq1_m || dtype == DType::iq2_xs || dtype == DType::iq2_s;
}

}  // namespace exo::iq
