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

// Raw blocks of every type in the file against the floats another program gives for them.
int compare_all(const std::filesystem::path& file) {
  const auto tensors = open_safetensors_file(file).value();
  int compared = 0;
  for (const std::string& raw_name : tensors->names()) {
    if (!raw_name.ends_with(".raw")) continue;
    const std::string type = raw_name.substr(0, raw_name.size() - 4);
    std::string name = type;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto dtype = dtype_from_name(name);
    EXPECT_TRUE(dtype.has_value()) << name;
    if (!dtype) continue;
    const HostTensor raw = tensors->find(raw_name).value();
    const HostTensor expected = tensors->find(type + ".f32").value();
    EXPECT_EQ(raw.bytes.size(), row_bytes(*dtype, expected.elements())) << name;
    std::vector<float> found(static_cast<size_t>(expected.elements()));
    to_f32(*dtype, raw.bytes.data(), found);
    EXPECT_EQ(std::memcmp(found.data(), expected.bytes.data(), expected.bytes.size()), 0) << name;
    ++compared;
  }
  return compared;
}

// Vectors that ggml made.
TEST(DequantizePacked, EveryFormatIsGgmlsBitForBit) {
  const char* fixtures = std::getenv("EXO_FIXTURES");
  if (fixtures == nullptr) GTEST_SKIP() << "needs EXO_FIXTURES (gguf/dequant_vectors.safetensors)";
  EXPECT_EQ(compare_all(std::filesystem::path(fixtures) / "gguf/dequant_vectors.safetensors"), 14);
}

// Random blocks, widened by gguf-py and by ggml, which agree (tests/golden/README.md).
TEST(DequantizePacked, CodebooksAndTernaryFormatsToo) {
  EXPECT_EQ(
      compare_all(std::filesystem::path(EXO_SOURCE_DIR) / "tests/golden/dequant_iq.safetensors"),
      10);
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
