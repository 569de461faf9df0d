#include "backend/cpu/spread.h"

#include <cstring>

#include "backend/cpu/interleave.h"
#include "tensor/dequantize_iq.h"

namespace exo::cpu {
namespace {

constexpr int kNumbersBytes = 32 * kGroupRows, kScaleBytes = 4 * kGroupRows;

constexpr int unit_bytes(int scales) { return scales * kScaleBytes + kNumbersBytes; }

// 256 elements of one row into their eight units.
template <int Scales>
void spread_block(const iq::Numbers& numbers, int row, std::byte* units) {
  for (int block = 0; block < 8; ++block, units += unit_bytes(Scales)) {
    for (int part = 0; part < Scales; ++part)
      std::memcpy(units + part * kScaleBytes + row * 4, &numbers.scales[block * 2 + part], 4);
    std::byte* quads = units + Scales * kScaleBytes + row * 4;
    for (int quad = 0; quad < 8; ++quad)
      std::memcpy(quads + quad * 4 * kGroupRows, numbers.values + block * 32 + quad * 4, 4);
  }
}

template <int Scales>
void spread(DType dtype, const std::byte* stored, int64_t rows, int64_t k, std::byte* units) {
  iq::Reader* const read = iq::reader_of(dtype);
  const int64_t block_bytes = traits(dtype).block_bytes, row_bytes = k / 256 * block_bytes;
  iq::Numbers numbers;
  for (int64_t block = 0; block < k / 256; ++block, units += 8 * unit_bytes(Scales))
    for (int row = 0; row < rows; ++row) {
      read(reinterpret_cast<const uint8_t*>(stored) + row * row_bytes + block * block_bytes,
           numbers);
      spread_block<Scales>(numbers, row, units);
    }
}

}  // namespace

int spread_scales(DType dtype) {
  if (iq::reader_of(dtype) == nullptr) return 0;
  return iq::has_scale_of_16(dtype) ? 2 : 1;
}

int64_t spread_bytes(DType dtype, int64_t k) { return k / 32 * unit_bytes(spread_scales(dtype)); }

void spread_group(DType dtype, const std::byte* stored, int64_t rows, int64_t k, std::byte* units) {
  if (rows < kGroupRows) std::memset(units, 0, static_cast<size_t>(spread_bytes(dtype, k)));
  const auto spread_rows = spread_scales(dtype) == 2 ? spread<2> : spread<1>;
  spread_rows(dtype, stored, rows, k, units);
}

}  // namespace exo::cpu
