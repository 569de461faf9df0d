// Stored layouts are facts of the GGUF format (ggml, github.com/ggml-org/ggml, MIT), as in
// tensor/dequantize_packed.cpp.
#include "backend/cpu/interleave.h"

#include <array>
#include <bit>
#include <cstring>

#include "backend/cpu/word_quads.h"
#include "base/check.h"

namespace exo::cpu {
namespace {

static_assert(std::endian::native == std::endian::little, "stored blocks are read as words");

using Bytes = const uint8_t*;

// A W is four bytes of one row (uint32_t) or of four rows side by side (U32x4).
template <class W>
constexpr int kRowsOf = sizeof(W) / 4;

// The same stored block of as many rows.
template <class W>
struct Block {
  Bytes first;
  int64_t stride;

  Bytes row(int i) const { return first + i * stride; }
  W word(int offset) const {
    const auto of_row = [&](int i) {
      uint32_t word = 0;
      std::memcpy(&word, row(i) + offset, sizeof(word));
      return word;
    };
    if constexpr (kRowsOf<W> == 1)
      return of_row(0);
    else
      return W{of_row(0), of_row(1), of_row(2), of_row(3)};
  }
  void four_words(int offset, W* out) const {
    if constexpr (kRowsOf<W> == 1) {
      std::memcpy(out, row(0) + offset, 16);
    } else {
      W rows[4];
      for (int i = 0; i < 4; ++i) std::memcpy(rows + i, row(i) + offset, 16);
      turn(rows, out);
    }
  }
};

// Where they go: scales into the head of the group's unit, codes as words of the planes, four bytes
// for each row in a register of 64.
template <class W>
struct Unit {
  int64_t row;  // the first
  uint8_t* head;
  uint8_t* planes;

  template <int Size>
  void scale(int offset, const Block<W>& in, int from) const {
    for (int i = 0; i < kRowsOf<W>; ++i)
      std::memcpy(head + offset + Size * (row + i), in.row(i) + from, Size);
  }
  void byte(int offset, int index, W value) const { bytes<1>(offset, index, value); }
  template <int Count = 4>
  void bytes(int offset, int index, W value) const {
    const auto rows = std::bit_cast<std::array<uint32_t, kRowsOf<W>>>(value);
    for (int i = 0; i < Count; ++i)
      for (int j = 0; j < kRowsOf<W>; ++j)
        head[offset + 16 * (index + i) + row + j] = static_cast<uint8_t>(rows[j] >> (8 * i));
  }
  void word(int index, W value) const {
    std::memcpy(planes + 64 * index + 4 * row, &value, sizeof(value));
  }
};

// --- codes, four bytes at a time ---

// 32 stored bytes, each with parts (nibbles, pairs or bits) of several blocks or quads.
template <class W>
struct Words {
  W at[8];
  Words(const Block<W>& in, int offset) {
    in.four_words(offset, at);
    in.four_words(offset + 16, at + 4);
  }

  // Of words that are `Distance` apart, the upper `Shift` bits of every 2 Shift in the first and
  // the lower ones in the second change places.
  template <int Distance, int Shift>
  void exchange() {
    constexpr uint32_t kLower = ~0u / ((1u << Shift) + 1);
    for (int i = 0; i < 8; ++i) {
      if ((i & Distance) != 0) continue;
      const W moved = (at[i] >> Shift ^ at[i + Distance]) & kLower;
      at[i] ^= moved << Shift;
      at[i + Distance] ^= moved;
    }
  }
};

// Stored in order: four elements, or four and those 16 further on in nibbles, a word. `Flip` turns
// bits of all codes.
template <int Count, uint32_t Flip = 0, class W>
void copy_words(const Block<W>& in, int offset, const Unit<W>& to) {
  for (int i = 0; i < Count; i += 4) {
    W words[4];
    in.four_words(offset + 4 * i, words);
    for (int j = 0; j < 4; ++j) to.word(i + j, words[j] ^ Flip);
  }
}

// 32 bytes with 32 elements in their low nibbles and those of another block in the high ones.
template <class W>
void nibbles(const Block<W>& in, int offset, const Unit<W>& to, int low_block, int high_block) {
  Words<W> words(in, offset);
  words.template exchange<4, 4>();
  for (int i = 0; i < 4; ++i) {
    to.word(low_block + i, words.at[i]);
    to.word(high_block + i, words.at[i + 4]);
  }
}

// 32 bytes, two bits in each for each of four blocks, `Step` words apart.
template <int Step, class W>
void pairs(const Block<W>& in, int offset, const Unit<W>& to, int first) {
  Words<W> words(in, offset);
  words.template exchange<2, 4>();
  words.template exchange<1, 2>();
  for (int i = 0; i < 8; ++i) to.word(first + Step * (i % 4) + i / 4, words.at[i]);
}

// 32 bytes, a bit in each for each of eight blocks.
template <int Step, class W>
void bits(const Block<W>& in, int offset, const Unit<W>& to, int first) {
  Words<W> words(in, offset);
  words.template exchange<4, 4>();
  words.template exchange<2, 2>();
  words.template exchange<1, 1>();
  for (int i = 0; i < 8; ++i) to.word(first + Step * i, words.at[i]);
}

// Bits whose numbers have a 0 at `high` and a 1 at `low`.
constexpr uint32_t places(int high, int low) {
  uint32_t mask = 0;
  for (int i = 0; i < 32; ++i)
    if ((i >> high & 1) == 0 && (i >> low & 1) == 1) mask |= 1u << i;
  return mask;
}
// These change places with those that have the opposite.
template <int High, int Low, class W>
W exchange_places(W word) {
  constexpr int kShift = (1 << High) - (1 << Low);
  constexpr uint32_t kPlaces = places(High, Low);
  const W moved = (word >> kShift ^ word) & kPlaces;
  return word ^ moved ^ moved << kShift;
}
// Bit 4 j + b, of element b of quad j, becomes bit j of byte b.
template <class W>
W bits_of_quads(W word) {
  word = exchange_places<3, 0>(exchange_places<4, 1>(word));
  return exchange_places<1, 0>(exchange_places<2, 1>(word));
}

// --- formats: take() is one stored block of one row or four ---

template <int ScaleBytes, int Scales, int Count, uint32_t Flip = 0>
struct InOrder {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    for (int i = 0; i < Scales; ++i)
      to.template scale<ScaleBytes>(16 * ScaleBytes * i, in, ScaleBytes * i);
    copy_words<Count, Flip>(in, ScaleBytes * Scales, to);
  }
};

template <int Scales>  // q5_0, q5_1
struct FiveBits {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    InOrder<2, Scales, 0>::take(in, to);
    copy_words<4>(in, 2 * Scales + 4, to);
    to.word(4, bits_of_quads(in.word(2 * Scales)));
  }
};

constexpr uint32_t kNibbles = 0x0f0f0f0fu, kPairs = 0x03030303u;

struct Q2K {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    to.template scale<2>(0, in, 80);
    to.template scale<2>(32, in, 82);
    for (int i = 0; i < 16; i += 4) to.bytes(64, i, in.word(i));
    for (int half = 0; half < 2; ++half) pairs<2>(in, 16 + 32 * half, to, 8 * half);
  }
};

// Four numbers of 6 bits, less 32.
template <class W>
W signed_scales(W low, W high) {
  const W numbers = (low & kNibbles) | (high & kPairs) << 4;
  return ((numbers | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
}

struct Q3K {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    to.template scale<2>(0, in, 108);
    const W high = in.word(104);
    for (int i = 0; i < 4; ++i) {
      const W low = in.word(96 + i % 2 * 4) >> (i / 2 * 4);
      to.bytes(32, 4 * i, signed_scales<W>(low, high >> (2 * i)));
    }
    for (int half = 0; half < 2; ++half) pairs<3>(in, 32 + 32 * half, to, 12 * half);
    bits<3>(in, 0, to, 2);
  }
};

// Scale and minimum of 6 bits each: their low halves share a byte, their high ones a nibble.
template <class W>
void scales_and_minima(const Block<W>& in, const Unit<W>& to) {
  to.template scale<2>(0, in, 0);
  to.template scale<2>(32, in, 2);
  const W scales = in.word(4), minima = in.word(8);
  to.bytes(64, 0, (scales & kNibbles) | (minima & kNibbles) << 4);
  to.bytes(64, 4, in.word(12));
  for (int half = 0; half < 2; ++half) {
    const int from = 4 + 2 * half;
    const W high = (scales >> from & kPairs) | (minima >> from & kPairs) << 2;
    to.byte(192, 2 * half, high | high >> 4);
    to.byte(192, 2 * half + 1, high >> 16 | high >> 20);
  }
}
struct Q4K {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    scales_and_minima(in, to);
    for (int i = 0; i < 4; ++i) nibbles(in, 16 + 32 * i, to, 8 * i, 8 * i + 4);
  }
};
struct Q5K {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    scales_and_minima(in, to);
    for (int i = 0; i < 4; ++i) nibbles(in, 48 + 32 * i, to, 10 * i, 10 * i + 5);
    bits<5>(in, 16, to, 4);
  }
};

struct Q6K {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    to.template scale<2>(0, in, 208);
    for (int i = 0; i < 16; i += 4) to.bytes(32, i, in.word(192 + i));
    for (int half = 0; half < 2; ++half) {
      const int first = 24 * half;
      nibbles(in, 64 * half, to, first, first + 12);
      nibbles(in, 64 * half + 32, to, first + 6, first + 18);
      pairs<6>(in, 128 + 32 * half, to, first + 4);
    }
  }
};

struct Iq4Xs {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    to.template scale<2>(0, in, 0);
    const W high = in.word(0) >> 16, low = in.word(4);
    for (int i = 0; i < 8; ++i)
      to.byte(32, i, ((low >> (4 * i) & 15u) | (high >> (2 * i) & 3u) << 4) - 32u);
    copy_words<32>(in, 8, to);
  }
};

// A code in each byte: word j holds quad j.
template <int Bits, class W>
void planes_of_bytes(const W* quads, const Unit<W>& to) {
  if constexpr (Bits >= 4)
    for (int i = 0; i < 4; ++i) to.word(i, (quads[i] & kNibbles) | (quads[i + 4] & kNibbles) << 4);
  if constexpr (Bits == 2 || Bits == 3 || Bits == 6) {
    constexpr int kFirst = Bits == 6 ? 4 : 0;  // of these bits, and of their words
    for (int half = 0; half < 2; ++half) {
      W word{};
      for (int i = 0; i < 4; ++i) word |= (quads[4 * half + i] >> kFirst & kPairs) << (2 * i);
      to.word(kFirst + half, word);
    }
  }
  if constexpr (Bits == 3 || Bits == 5) {
    W word{};
    for (int i = 0; i < 8; ++i) word |= (quads[i] >> (Bits - 1) & 0x01010101u) << i;
    to.word(Bits - 1, word);
  }
}

// A scale and a bias of `Size` bytes, then a stream of codes, lowest bits first: a quad is half of
// `Bits` bytes.
template <int Bits, int Size>
struct Stream {
  template <class W>
  static void take(const Block<W>& in, const Unit<W>& to) {
    InOrder<Size, 2, 0>::take(in, to);
    W quads[8];
    for (int j = 0; j < 8; ++j) {
      const int end =
          (Bits * (j + 1) + 1) / 2;  // reads 4 bytes up to here, so none behind the block
      quads[j] = spread(in.word(2 * Size + end - 4) >> (32 - 8 * end + 4 * Bits * j));
    }
    planes_of_bytes<Bits>(quads, to);
  }

  // Four numbers of `Bits` bits in a row become four bytes.
  template <class W>
  static W spread(W word) {
    constexpr uint32_t kTwo = (1u << 2 * Bits) - 1, kOne = ((1u << Bits) - 1) * 0x00010001u;
    word = (word & kTwo) | (word >> 2 * Bits & kTwo) << 16;
    return (word & kOne) | (word >> Bits & kOne) << 8;
  }
};

// --- groups ---

struct Layout {
  int bits;        // of a code
  int head_bytes;  // of 16 rows
  void (*fill)(Bytes stored, int64_t rows, int64_t units, uint8_t* group);
};

// A unit takes pieces of 16 rows, which no machine foresees, so the next group is fetched
// meanwhile, in the order in which it lies.
template <class Format, int BlockBytes, int UnitBytes, int HeadBytes>
void fill(Bytes stored, int64_t rows, int64_t units, uint8_t* group) {
  const int64_t stride = units * BlockBytes;
  Bytes next = stored + rows * stride;
  for (int64_t u = 0; u < units; ++u, stored += BlockBytes, group += UnitBytes) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4, next += 4 * BlockBytes) {
      for (int i = 0; i < 4 * BlockBytes; i += 64) __builtin_prefetch(next + i);
      Format::take(Block<U32x4>{stored + row * stride, stride},
                   Unit<U32x4>{row, group, group + HeadBytes});
    }
    for (; row < rows; ++row)
      Format::take(Block<uint32_t>{stored + row * stride, stride},
                   Unit<uint32_t>{row, group, group + HeadBytes});
  }
}

template <class Format, int BlockBytes, int Bits, int HeadBytes, int BlockSize = 32>
constexpr Layout layout() {
  constexpr int kUnitBytes = HeadBytes + BlockSize * Bits * kGroupRows / 8;
  return {Bits, HeadBytes, fill<Format, BlockBytes, kUnitBytes, HeadBytes>};
}
template <int Bits, int Size>
constexpr Layout affine() {
  return layout<Stream<Bits, Size>, 2 * Size + 4 * Bits, Bits, 32 * Size>();
}

constexpr uint32_t kTopBits = 0x80808080u;  // unsigned bytes less 128 have a sign

Layout affine_layout(DType dtype) {
  switch (dtype) {
    case DType::affine2:
      return affine<2, 2>();
    case DType::affine3:
      return affine<3, 2>();
    case DType::affine6:
      return affine<6, 2>();
    case DType::affine2_f32:
      return affine<2, 4>();
    case DType::affine3_f32:
      return affine<3, 4>();
    case DType::affine4_f32:
      return affine<4, 4>();
    case DType::affine5_f32:
      return affine<5, 4>();
    case DType::affine6_f32:
      return affine<6, 4>();
    case DType::affine8_f32:
      return layout<InOrder<4, 2, 8, kTopBits>, 40, 8, 128>();
    case DType::zero4:
      return layout<InOrder<2, 2, 4>, 20, 4, 64>();
    case DType::affine8:
    case DType::zero8:
      return layout<InOrder<2, 2, 8, kTopBits>, 36, 8, 64>();
    default:
      return {};
  }
}

Layout layout_of(DType dtype) {
  switch (dtype) {
    case DType::q8_0:
      return layout<InOrder<2, 1, 8>, 34, 8, 32>();
    case DType::q4_0:
    case DType::iq4_nl:
      return layout<InOrder<2, 1, 4>, 18, 4, 32>();
    case DType::q4_1:
      return layout<InOrder<2, 2, 4>, 20, 4, 64>();
    case DType::mxfp4:
      return layout<InOrder<1, 1, 4>, 17, 4, 16>();
    case DType::q5_0:
      return layout<FiveBits<1>, 22, 5, 32>();
    case DType::q5_1:
      return layout<FiveBits<2>, 24, 5, 64>();
    case DType::q2_k:
      return layout<Q2K, 84, 2, 64 + 256, 256>();
    case DType::q3_k:
      return layout<Q3K, 110, 3, 32 + 256, 256>();
    case DType::q4_k:
      return layout<Q4K, 144, 4, 64 + 192, 256>();
    case DType::q5_k:
      return layout<Q5K, 176, 5, 64 + 192, 256>();
    case DType::q6_k:
      return layout<Q6K, 210, 6, 32 + 256, 256>();
    case DType::iq4_xs:
      return layout<Iq4Xs, 136, 4, 32 + 128, 256>();
    default:
      return affine_layout(dtype);
  }
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
  const int64_t units = k / traits(dtype).block_size;
  if (rows < kGroupRows) std::memset(group, 0, static_cast<size_t>(units * unit_bytes(dtype)));
  layout.fill(reinterpret_cast<Bytes>(stored), rows, units, reinterpret_cast<uint8_t*>(group));
}

}  // namespace exo::cpu
