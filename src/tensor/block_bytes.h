// The bytes of ggml's blocks: numbers, little endian, and four bits of 32 numbers in 16 bytes.
// Pure functions, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace exo {

template <class T, class Byte>
T number_at(const Byte* bytes) {
  static_assert(sizeof(Byte) == 1);
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}
template <class Byte>
float half_at(const Byte* bytes) {
  return f16_to_f32(number_at<uint16_t>(bytes));
}

// Element i in the low half of byte i, element i + 16 in the high half.
template <class Numbers, class Byte>
void put_nibbles(const Numbers& numbers, Byte* out) {
  for (size_t i = 0; i < 16; ++i)
    out[i] = static_cast<Byte>((numbers[i] & 15) | (numbers[i + 16] & 15) << 4);
}
// Of numbers of five bits the uppermost: bit i of a word is element i's.
template <class Numbers, class Byte>
void put_fifth_bits(const Numbers& numbers, Byte* out) {
  uint32_t high = 0;
  for (size_t i = 0; i < 32; ++i) high |= static_cast<uint32_t>(numbers[i] >> 4 & 1) << i;
  std::memcpy(out, &high, sizeof high);
}

}  // namespace exo
