#include "backend/cpu/interleave.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/random_weights.h"

namespace exo::cpu {
namespace {

constexpr int64_t kWidth = 768;

std::vector<DType> interleaved_types() {
  std::vector<DType> types;
  for (int i = 0; i <= static_cast<int>(DType::zero8); ++i)
    if (is_interleaved(static_cast<DType>(i))) types.push_back(static_cast<DType>(i));
  return types;
}

// `stored` has exactly `rows` rows, so that a read behind them is an error where such are seen.
std::vector<std::byte> group_of(DType dtype, const std::vector<std::byte>& stored, int64_t rows,
                                std::byte before) {
  const auto row = static_cast<size_t>(interleaved_row_bytes(dtype, kWidth));
  std::vector<std::byte> group(kGroupRows * row, before);
  interleave_group(dtype, stored.data(), rows, kWidth, group.data());
  return group;
}

std::vector<std::byte> stored_rows(DType dtype, int64_t rows) {
  return cases::random_blocks(dtype, static_cast<size_t>(rows * kWidth), 7, 0.25f);
}

// Any number of rows: those of four and of one go different ways.
TEST(Interleave, RowsComeBackAsTheyWereStored) {
  const Kernels kernels = choose_kernels("scalar").value();
  for (const DType dtype : interleaved_types()) {
    const auto widen = kernels.interleaved[static_cast<int>(dtype)].widen;
    for (int64_t rows = 1; rows <= kGroupRows; ++rows) {
      const std::vector<std::byte> stored = stored_rows(dtype, rows);
      std::vector<float> expected(static_cast<size_t>(rows * kWidth)), found(kGroupRows * kWidth);
      to_f32(dtype, stored.data(), expected);
      widen(group_of(dtype, stored, rows, std::byte{0xa5}).data(), kWidth, found.data());
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), expected.size() * sizeof(float)), 0)
          << traits(dtype).name << ", rows " << rows;
    }
  }
}

TEST(Interleave, MemoryThatWasUsedBeforeDoesNotShow) {
  for (const DType dtype : interleaved_types())
    for (const int64_t rows : {5, 16}) {
      const std::vector<std::byte> stored = stored_rows(dtype, rows);
      EXPECT_EQ(group_of(dtype, stored, rows, std::byte{0xa5}),
                group_of(dtype, stored, rows, std::byte{0x5a}))
          << traits(dtype).name << ", rows " << rows;
    }
}

// As docs/cpu-backend.md draws them; the two formats whose stored words are the planes' words.
TEST(Interleave, WordsLieWhereTheDrawingHasThem) {
  for (const auto& [dtype, quads] : {std::pair{DType::q8_0, 8}, {DType::q4_0, 4}}) {
    const std::vector<std::byte> stored = stored_rows(dtype, kGroupRows);
    const std::vector<std::byte> group = group_of(dtype, stored, kGroupRows, std::byte{0});
    const size_t row_size = row_bytes(dtype, kWidth), block = row_bytes(dtype, 32);
    for (int row = 0; row < kGroupRows; ++row)
      for (int j = 0; j < quads; ++j)
        EXPECT_EQ(std::memcmp(group.data() + kGroupRows * block + 32 + 64 * j + 4 * row,
                              stored.data() + row * row_size + block + 2 + 4 * j, 4),
                  0)
            << traits(dtype).name << ", row " << row << ", quad " << j << " of the second block";
  }
}

}  // namespace
}  // namespace exo::cpu
