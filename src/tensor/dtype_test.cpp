#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace exo {
namespace {

TEST(DType, NamesGoBothWays) {
  EXPECT_EQ(dtype_from_name("q4_0"), DType::q4_0);
  EXPECT_EQ(traits(DType::bf16).name, "bf16");
  EXPECT_EQ(dtype_from_name("q9"), std::nullopt);
  EXPECT_EQ(row_bytes(DType::q8_0, 64), 68u);
}

// Every 16-bit pattern survives the way through float32.
TEST(DType, SixteenBitPatternsSurvive) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto b = static_cast<uint16_t>(bits);
    const float half = f16_to_f32(b), brain = bf16_to_f32(b);
    if (std::isnan(half)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(half))));
    } else {
      ASSERT_EQ(f32_to_f16(half), b);
    }
    if (std::isnan(brain)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(brain))));
    } else {
      ASSERT_EQ(f32_to_bf16(brain), b);
    }
  }
}

// The rounded value is nearest, and of two equally near ones the even one.
template <class ToBits, class ToFloat>
void check_nearest(float value, ToBits to_bits, ToFloat to_float) {
  const uint16_t bits = to_bits(value);
  const double chosen = std::fabs(static_cast<double>(to_float(bits)) - value);
  for (const int step : {-1, 1}) {
    const auto other = static_cast<uint16_t>(bits + step);
    if ((other ^ bits) & 0x8000u || !std::isfinite(to_float(other))) continue;
    const double distance = std::fabs(static_cast<double>(to_float(other)) - value);
    ASSERT_LE(chosen, distance) << value;
    if (chosen == distance) {
      ASSERT_EQ(bits & 1u, 0u) << value;
    }
  }
}

TEST(DType, RoundsToNearestEven) {
  std::mt19937 random(7);
  for (int i = 0; i < 200'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    if (std::fabs(value) < 3e38f) check_nearest(value, f32_to_bf16, bf16_to_f32);
    if (std::fabs(value) < 65000.0f) check_nearest(value, f32_to_f16, f16_to_f32);
    const float small = std::ldexp(static_cast<float>(random() % 4096), -26);  // f16 subnormals
    check_nearest(small, f32_to_f16, f16_to_f32);
  }
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bffu);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00u);  // rounds to infinity
  EXPECT_EQ(f32_to_f16(-INFINITY), 0xfc00u);
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80u);  // a tie
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82u);
}

}  // namespace
}  // namespace exo
