// Stored layouts are facts of the GGUF format (ggml, github.com/ggml-org/ggml, MIT), as in
// tensor/dequantize_packed.cpp.
#include "backend/cpu/interleave.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace exo::cpu {
namespace {

using Bytes = const uint8_t*;

// Where one stored block of one row goes: its scales into the head of the group's unit, its
// elements as unsigned codes.
struct Unit {
  int row;
  uint8_t* head;
  uint8_t* codes;

  void half(int index, Bytes at) const { std::memcpy(head + 32 * index + 2 * row, at, 2); }
  uint8_t& byte(int offset, int index) const { return head[offset + 16 * index + row]; }
};

struct Layout {
  int bits;        // of a code
  int head_bytes;  // of 16 rows
  void (*take)(Bytes in, const Unit& unit);
  // Instead of `take`: a whole group, [rows, units] stored blocks.
  void (*copy)(Bytes stored, int64_t rows, int64_t units, uint8_t* group);
};

// Stored codes that are in order already, four elements (or four and those 16 further on, in
// nibbles) a word: each word only has to find its place among those of the other rows. `Flip`
// turns bits of all codes.
template <int HeadBytes, int Words, uint32_t Flip = 0>
void copy_words(Bytes stored, int64_t rows, int64_t units, uint8_t* to) {
  constexpr int kStored = HeadBytes + 4 * Words;
  constexpr int kScale = HeadBytes == 8 ? 4 : std::min(HeadBytes, 2);
  for (int64_t u = 0; u < units; ++u) {
    uint8_t* codes = to + 16 * HeadBytes;
    for (int64_t row = 0; row < rows; ++row) {
      const Bytes in = stored + (row * units + u) * kStored;
      for (int at = 0; at < HeadBytes; at += kScale)
        std::memcpy(to + 16 * at + kScale * row, in + at, kScale);
      for (int i = 0; i < Words; ++i) {
        uint32_t word = 0;
        std::memcpy(&word, in + HeadBytes + 4 * i, sizeof(word));
        word ^= Flip;
        std::memcpy(codes + 64 * i + 4 * row, &word, sizeof(word));
      }
    }
    to = codes + 64 * Words;
  }
}

// Low nibbles are elements 0..15, high ones 16..31.
void nibbles(Bytes in, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = in[i] & 15;
    codes[i + 16] = in[i] >> 4;
  }
}
void fifth_bits(Bytes in, uint8_t* codes) {
  uint32_t high = 0;
  std::memcpy(&high, in, sizeof(high));
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>((high >> i & 1) << 4);
}

void q5_0(Bytes in, const Unit& to) {
  to.half(0, in);
  nibbles(in + 6, to.codes);
  fifth_bits(in + 2, to.codes);
}
void q5_1(Bytes in, const Unit& to) {
  to.half(0, in);
  to.half(1, in + 2);
  nibbles(in + 8, to.codes);
  fifth_bits(in + 4, to.codes);
}

void q2_k(Bytes in, const Unit& to) {
  to.half(0, in + 80);
  to.half(1, in + 82);
  for (int group = 0; group < 16; ++group) {
    to.byte(64, group) = in[group];
    const Bytes q = in + 16 + group / 8 * 32 + group % 2 * 16;
    for (int i = 0; i < 16; ++i) to.codes[group * 16 + i] = q[i] >> (group % 8 / 2 * 2) & 3;
  }
}

void q3_k(Bytes in, const Unit& to) {
  const Bytes packed = in + 96;
  to.half(0, in + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int top = packed[8 + group % 4] >> (group / 4 * 2) & 3;
    to.byte(32, group) = static_cast<uint8_t>((low | top << 4) - 32);
    const Bytes q = in + 32 + group / 8 * 32 + group % 2 * 16, h = in + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 8 * 4 + group % 8 / 2;
    for (int i = 0; i < 16; ++i)
      to.codes[group * 16 + i] = static_cast<uint8_t>((q[i] >> shift & 3) | (h[i] >> bit & 1) << 2);
  }
}

// Scale and minimum of 6 bits each: their low halves share a byte, their high ones a nibble.
void scales_and_minima(Bytes in, const Unit& to) {
  to.half(0, in);
  to.half(1, in + 2);
  const Bytes packed = in + 4;
  for (int i = 0; i < 8; ++i) {
    const bool first = i < 4;
    const int scale = first ? packed[i] & 63 : (packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4);
    const int minimum = first ? packed[i + 4] & 63 : packed[i + 4] >> 4 | (packed[i] >> 6 << 4);
    to.byte(64, i) = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
    to.byte(192, i / 2) |= static_cast<uint8_t>((scale >> 4 | minimum >> 4 << 2) << (i % 2 * 4));
  }
}
void q4_k(Bytes in, const Unit& to) {
  scales_and_minima(in, to);
  for (int group = 0; group < 8; ++group) {
    const Bytes q = in + 16 + group / 2 * 32;
    for (int i = 0; i < 32; ++i) to.codes[group * 32 + i] = q[i] >> (group % 2 * 4) & 15;
  }
}
void q5_k(Bytes in, const Unit& to) {
  scales_and_minima(in, to);
  for (int group = 0; group < 8; ++group) {
    const Bytes q = in + 48 + group / 2 * 32, high = in + 16;
    for (int i = 0; i < 32; ++i)
      to.codes[group * 32 + i] =
          static_cast<uint8_t>((q[i] >> (group % 2 * 4) & 15) | (high[i] >> group & 1) << 4);
  }
}

void q6_k(Bytes in, const Unit& to) {
  to.half(0, in + 208);
  for (int group = 0; group < 16; ++group) to.byte(32, group) = in[192 + group];
  for (int part = 0; part < 8; ++part) {
    const Bytes low = in + part / 4 * 64 + part % 2 * 32, high = in + 128 + part / 4 * 32;
    const int shift = part % 4 / 2 * 4, pair = part % 4 * 2;
    for (int i = 0; i < 32; ++i)
      to.codes[part * 32 + i] =
          static_cast<uint8_t>((low[i] >> shift & 15) | (high[i] >> pair & 3) << 4);
  }
}

void iq4_xs(Bytes in, const Unit& to) {
  to.half(0, in);
  const int high = in[2] | in[3] << 8;
  for (int group = 0; group < 8; ++group) {
    const int low = in[4 + group / 2] >> (group % 2 * 4) & 15;
    to.byte(32, group) = static_cast<uint8_t>((low | (high >> (2 * group) & 3) << 4) - 32);
    nibbles(in + 8 + group * 16, to.codes + group * 32);
  }
}

// A scale and a bias of `Size` bytes, then a stream of codes, lowest bits first. Eight codes are
// Bits bytes.
template <int Bits, int Size>
void stream(Bytes in, const Unit& to) {
  for (int i = 0; i < 2; ++i)
    std::memcpy(to.head + 16 * Size * i + Size * to.row, in + Size * i, Size);
  for (int eight = 0; eight < 4; ++eight) {
    uint64_t word = 0;
    std::memcpy(&word, in + 2 * Size + Bits * eight, Bits);
    for (int i = 0; i < 8; ++i)
      to.codes[8 * eight + i] = static_cast<uint8_t>(word >> (Bits * i) & ((1u << Bits) - 1));
  }
}

constexpr uint32_t kTopBits = 0x80808080u;  // unsigned bytes less 128 have a sign

Layout affine_layout(DType dtype) {
  switch (dtype) {
    case DType::affine2:
      return {2, 64, stream<2, 2>, nullptr};
    case DType::affine3:
      return {3, 64, stream<3, 2>, nullptr};
    case DType::affine6:
      return {6, 64, stream<6, 2>, nullptr};
    case DType::affine2_f32:
      return {2, 128, stream<2, 4>, nullptr};
    case DType::affine3_f32:
      return {3, 128, stream<3, 4>, nullptr};
    case DType::affine4_f32:
      return {4, 128, stream<4, 4>, nullptr};
    case DType::affine5_f32:
      return {5, 128, stream<5, 4>, nullptr};
    case DType::affine6_f32:
      return {6, 128, stream<6, 4>, nullptr};
    case DType::affine8_f32:
      return {8, 128, nullptr, copy_words<8, 8, kTopBits>};
    case DType::zero4:
      return {4, 64, nullptr, copy_words<4, 4>};
    case DType::affine8:
    case DType::zero8:
      return {8, 64, nullptr, copy_words<4, 8, kTopBits>};
    default:
      return {};
  }
}

Layout layout_of(DType dtype) {
  switch (dtype) {
    case DType::q8_0:
      return {8, 32, nullptr, copy_words<2, 8>};
    case DType::q4_0:
    case DType::iq4_nl:
      return {4, 32, nullptr, copy_words<2, 4>};
    case DType::q4_1:
      return {4, 64, nullptr, copy_words<4, 4>};
    case DType::mxfp4:
      return {4, 16, nullptr, copy_words<1, 4>};
    case DType::q5_0:
      return {5, 32, q5_0, nullptr};
    case DType::q5_1:
      return {5, 64, q5_1, nullptr};
    case DType::q2_k:
      return {2, 64 + 256, q2_k, nullptr};
    case DType::q3_k:
      return {3, 32 + 256, q3_k, nullptr};
    case DType::q4_k:
      return {4, 64 + 192, q4_k, nullptr};
    case DType::q5_k:
      return {5, 64 + 192, q5_k, nullptr};
    case DType::q6_k:
      return {6, 32 + 256, q6_k, nullptr};
    case DType::iq4_xs:
      return {4, 32 + 128, iq4_xs, nullptr};
    default:
      return affine_layout(dtype);
  }
}

// Four codes at a time: word j of a block holds elements 4 j .. 4 j + 3.
class Planes {
 public:
  Planes(const uint8_t* codes, uint8_t* out, int row) : out_(out + 4 * row) {
    std::memcpy(words_, codes, sizeof(words_));
  }
  void nibbles() {
    for (int i = 0; i < 4; ++i) put((words_[i] & 0x0f0f0f0fu) | (words_[i + 4] & 0x0f0f0f0fu) << 4);
  }
  void pairs(int shift) {
    for (int half = 0; half < 8; half += 4) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) word |= (words_[half + i] >> shift & 0x03030303u) << (2 * i);
      put(word);
    }
  }
  void bits(int shift) {
    uint32_t word = 0;
    for (int i = 0; i < 8; ++i) word |= (words_[i] >> shift & 0x01010101u) << i;
    put(word);
  }

 private:
  void put(uint32_t word) {
    std::memcpy(out_, &word, sizeof(word));
    out_ += 4 * kGroupRows;
  }
  uint32_t words_[8];
  uint8_t* out_;
};

void write_planes(int bits, Planes planes) {
  if (bits >= 4) planes.nibbles();
  if (bits == 6) planes.pairs(4);
  if (bits < 4) planes.pairs(0);
  if (bits == 3) planes.bits(2);
  if (bits == 5) planes.bits(4);
}

int64_t unit_bytes(DType dtype) {
  const Layout layout = layout_of(dtype);
  return layout.head_bytes + int64_t{traits(dtype).block_size} * layout.bits * kGroupRows / 8;
}

}  // namespace

bool is_interleaved(DType dtype) { return layout_of(dtype).bits != 0; }

int64_t interleaved_row_bytes(DType dtype, int64_t k) {
  return k / traits(dtype).block_size * unit_bytes(dtype) / kGroupRows;
}

void interleave_group(DType dtype, const std::byte* stored, int64_t rows, int64_t k,
                      std::byte* group) {
  const Layout layout = layout_of(dtype);
  CHECK(layout.bits != 0, traits(dtype).name);
  const int64_t unit = unit_bytes(dtype), block_bytes = traits(dtype).block_bytes;
  const int64_t units = k / traits(dtype).block_size,
                plane_bytes = 8 * kGroupRows / 2 * layout.bits;
  if (layout.copy == nullptr || rows < kGroupRows)
    std::memset(group, 0, static_cast<size_t>(units * unit));
  if (layout.copy != nullptr)
    return layout.copy(reinterpret_cast<Bytes>(stored), rows, units,
                       reinterpret_cast<uint8_t*>(group));
  uint8_t codes[256];
  for (int64_t u = 0; u < units; ++u) {
    auto* to = reinterpret_cast<uint8_t*>(group) + u * unit;
    for (int64_t row = 0; row < rows; ++row) {
      const auto* in = reinterpret_cast<Bytes>(stored) + (row * units + u) * block_bytes;
      layout.take(in, {static_cast<int>(row), to, codes});
      for (int64_t b = 0; b < traits(dtype).block_size / 32; ++b)
        write_planes(layout.bits, {codes + 32 * b, to + layout.head_bytes + b * plane_bytes,
                                   static_cast<int>(row)});
    }
  }
}

}  // namespace exo::cpu
