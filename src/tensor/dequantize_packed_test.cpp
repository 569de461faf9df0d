#include "tensor/dequantize_packed.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "tensor/quantize.h"
#include "tensor/tensor_files.h"

namespace exo {
namespace {

// Vectors that ggml made: raw blocks and the floats it gives for them.
TEST(DequantizePacked, EveryFormatIsGgmlsBitForBit) {
  const char* fixtures = std::getenv("EXO_FIXTURES");
  if (fixtures == nullptr) GTEST_SKIP() << "needs EXO_FIXTURES (gguf/dequant_vectors.safetensors)";
  const auto file = std::filesystem::path(fixtures) / "gguf/dequant_vectors.safetensors";
  const auto tensors = open_safetensors_file(file).value();
  int compared = 0;
  for (const char* name : {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k",
                           "q6_k", "iq4_nl", "iq4_xs", "f16"}) {
    std::string upper = name;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const HostTensor raw = tensors->find(upper + ".raw").value();
    const HostTensor expected = tensors->find(upper + ".f32").value();
    std::vector<float> found(static_cast<size_t>(expected.elements()));
    to_f32(dtype_from_name(name).value(), raw.bytes.data(), found);
    EXPECT_EQ(std::memcmp(found.data(), expected.bytes.data(), expected.bytes.size()), 0) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 13);
}

TEST(DequantizePacked, Fp8HasItsEdges) {
  EXPECT_EQ(f8_e4m3_to_f32(0x00), 0.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f8_e4m3_to_f32(0x08), 0x1p-6f);
  EXPECT_EQ(f8_e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0xfe), -448.0f);
  EXPECT_TRUE(f8_e4m3_to_f32(0x7f) != f8_e4m3_to_f32(0x7f));
}

}  // namespace
}  // namespace exo
