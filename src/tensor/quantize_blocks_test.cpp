#include "tensor/quantize_blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tensor/quantize.h"

namespace exo {
namespace {

std::vector<float> normal(size_t count, float mean) {
  std::mt19937 engine(7);
  std::vector<float> values(count);
  for (float& value : values) {  // a sum of uniforms: the same on every machine
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine()) / 4294967296.0;
    value = mean + static_cast<float>(sum);
  }
  return values;
}

// Root of the mean squared error of what comes back.
double error_of(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> packed(row_bytes(dtype, static_cast<int64_t>(values.size())));
  from_f32(dtype, values, packed.data());
  std::vector<float> back(values.size());
  to_f32(dtype, packed.data(), back);
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow(values[i] - back[i], 2);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

TEST(QuantizeBlocks, ErrorsAreThoseOfTheirBits) {
  const std::vector<float> centred = normal(256 * 64, 0), shifted = normal(256 * 64, 2);
  for (const auto& [dtype, most] : {std::pair{DType::q4_0, 0.090},
                                    {DType::q4_1, 0.080},
                                    {DType::q5_0, 0.045},
                                    {DType::q5_1, 0.040},
                                    {DType::q8_0, 0.006},
                                    {DType::q4_k, 0.072},
                                    {DType::q5_k, 0.036},
                                    {DType::q6_k, 0.020}}) {
    EXPECT_LT(error_of(dtype, centred), most) << traits(dtype).name;
    EXPECT_GT(error_of(dtype, centred), most / 3) << traits(dtype).name;
  }
  // Formats with a minimum do not pay for a mean that is not zero.
  EXPECT_LT(error_of(DType::q4_k, shifted), 0.6 * error_of(DType::q4_0, shifted));
  EXPECT_LT(error_of(DType::q4_k, centred), error_of(DType::q4_1, centred));
}

TEST(QuantizeBlocks, WhatABlockCanHoldComesBack) {
  std::vector<float> steps(256);
  for (size_t i = 0; i < steps.size(); ++i) steps[i] = static_cast<float>(i % 16) * 0.5f - 4.0f;
  for (const DType dtype : {DType::q4_1, DType::q5_0, DType::q4_k, DType::q5_k, DType::q6_k})
    EXPECT_LT(error_of(dtype, steps), 0.02) << traits(dtype).name;
  const std::vector<float> zeros(256, 0.0f);
  for (const DType dtype :
       {DType::q4_1, DType::q5_0, DType::q5_1, DType::q4_k, DType::q5_k, DType::q6_k})
    EXPECT_EQ(error_of(dtype, zeros), 0) << traits(dtype).name;
}

TEST(QuantizeBlocks, WhatIsNotFiniteBecomesFinite) {
  for (const DType dtype :
       {DType::q4_1, DType::q5_0, DType::q5_1, DType::q4_k, DType::q5_k, DType::q6_k}) {
    std::vector<float> values = normal(256, 0), back(256);
    values[3] = std::numeric_limits<float>::infinity();
    values[40] = std::numeric_limits<float>::quiet_NaN();
    values[70] = std::numeric_limits<float>::max();
    std::vector<std::byte> packed(row_bytes(dtype, 256));
    from_f32(dtype, values, packed.data());
    to_f32(dtype, packed.data(), back);
    for (const float value : back) EXPECT_TRUE(std::isfinite(value)) << traits(dtype).name;
  }
}

}  // namespace
}  // namespace exo
