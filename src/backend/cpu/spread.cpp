#include "backend/cpu/spread.h"

#include <cstring>

#include "backend/cpu/interleave.h"
#include "backend/cpu/word_quads.h"
#include "tensor/dequantize_iq.h"

namespace exo::cpu {
namespace {

constexpr int kNumbersBytes = 32 * kGroupRows, kScaleBytes = 4 * kGroupRows;

constexpr int unit_bytes(int scales) { return scales * kScaleBytes + kNumbersBytes; }

constexpr int kRows = 4;  // read and turned at once

// 256 elements of four rows into their eight units.
template <int Scales>
void spread_rows(const iq::Numbers (&numbers)[kRows], int first_row, std::byte* units) {
  for (int block = 0; block < 8; ++block, units += unit_bytes(Scales)) {
    std::byte* at = units + first_row * 4;
    for (int part = 0; part < Scales; ++part, at += kScaleBytes)
      for (int row = 0; row < kRows; ++row)
        std::memcpy(at + row * 4, &numbers[row].scales[block * 2 + part], 4);
    for (int quad = 0; quad < 8; quad += 4, at += 4 * 4 * kGroupRows) {
      U32x4 rows[kRows], words[4];
      for (int row = 0; row < kRows; ++row)
        std::memcpy(&rows[row], numbers[row].values + block * 32 + quad * 4, sizeof rows[row]);
      turn(rows, words);
      for (int i = 0; i < 4; ++i) std::memcpy(at + i * 4 * kGroupRows, &words[i], sizeof words[i]);
    }
  }
}

template <int Scales>
void spread(DType dtype, const std::byte* stored, int64_t rows, int64_t k, std::byte* units) {
  iq::Reader* const read = iq::reader_of(dtype);
  const int64_t block_bytes = traits(dtype).block_bytes, row_bytes = k / 256 * block_bytes;
  iq::Numbers numbers[kRows] = {};
  for (int64_t block = 0; block < k / 256; ++block, units += 8 * unit_bytes(Scales))
    for (int first = 0; first < kGroupRows; first += kRows) {
      for (int row = first; row < first + kRows; ++row) {
        if (row >= rows) {
          numbers[row - first] = {};
          continue;
        }
        const std::byte* from = stored + row * row_bytes + block * block_bytes;
        for (int64_t byte = 0; byte < block_bytes; byte += 64)  // of the next group
          __builtin_prefetch(from + kGroupRows * row_bytes + byte);
        read(reinterpret_cast<const uint8_t*>(from), numbers[row - first]);
      }
      spread_rows<Scales>(numbers, first, units);
    }
}

}  // namespace

int spread_scales(DType dtype) {
  if (iq::reader_of(dtype) == nullptr) return 0;
  return iq::has_scale_of_16(dtype) ? 2 : 1;
}

int64_t spread_bytes(DType dtype, int64_t k) { return k / 32 * unit_bytes(spread_scales(dtype)); }

void spread_group(DType dtype, const std::byte* stored, int64_t rows, int64_t k, std::byte* units) {
  (spread_scales(dtype) == 2 ? spread<2> : spread<1>)(dtype, stored, rows, k, units);
}

}  // namespace exo::cpu
