// What the schemes refuse, and names. Their arithmetic is checked by the golden tests, against
// checkpoints that another program packed (tests/golden/scripts/make_quantized.py).
#include "tensor/quantized_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tensor/packed_weight.h"
#include "tensor/quantize.h"
#include "tensor/stacked_experts.h"
#include "tensor/tensor_writer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class QuantizedFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("exo_quantized_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // A file of these tensors, every byte `fill`.
  std::shared_ptr<const TensorFiles> write(const std::vector<PlannedTensor>& plan,
                                           std::byte fill = std::byte{0x11}) {
    auto writer = TensorWriter::create_safetensors(folder_ / "model.safetensors", {}, plan).value();
    for (const PlannedTensor& tensor : plan)
      if (tensor.size_bytes() > 0)
        writer.write(std::vector<std::byte>(tensor.size_bytes(), fill)).value();
    writer.finish().value();
    return open_safetensors(folder_).value();
  }
  static std::string said(const std::shared_ptr<const TensorFiles>& files,
                          const std::string& config) {
    const auto opened = open_quantized(files, parse_json(config).value().as_object());
    return opened.ok() ? "accepted" : opened.error().message;
  }
  fs::path folder_;
};

#define EXPECT_SAID(said, part) EXPECT_NE((said).find(part), std::string::npos) << (said)

TEST_F(QuantizedFilesTest, MlxMatricesAreOneTensorEach) {
  const auto files = write({{"a.weight", {DType::u32, {2, 8}}},
                            {"a.scales", {DType::bf16, {2, 1}}},
                            {"a.biases", {DType::bf16, {2, 1}}},
                            {"norm.weight", {DType::bf16, {4}}}});
  const auto config = parse_json(R"({"quantization": {"bits": 4, "group_size": 64}})").value();
  const auto opened = open_quantized(files, config.as_object()).value();
  EXPECT_EQ(opened->names(), (std::vector<std::string>{"a.weight", "norm.weight"}));
  EXPECT_FALSE(opened->contains("a.scales"));
  EXPECT_EQ(opened->describe("a.weight")->dtype, DType::q4_1);
  const HostTensor row = opened->find_rows("a.weight", 1, 1).value();
  EXPECT_EQ(row.shape, (Shape{1, 64}));
  std::vector<float> values(64);
  to_f32(row.dtype, row.bytes.data(), values);
  const float both = bf16_to_f32(0x1111);  // below float16's steps: rounded
  for (const float value : values) EXPECT_NEAR(value, 2 * both, 1e-7f);
  EXPECT_SAID(said(files, R"({"quantization": {"bits": 7, "group_size": 64}})"), "not 7 bits");
  EXPECT_SAID(said(files, R"({"quantization": {"bits": 4, "group_size": 48}})"), "groups of 48");
  EXPECT_SAID(said(files, R"({"quantization": {"bits": 8, "group_size": 2305843009213693952}})"),
              "groups of 2305843009213693952");
  EXPECT_SAID(said(files, R"({"quantization": {"bits": 4, "group_size": 32}})"), "'a.scales'");
  EXPECT_SAID(said(files, R"({"quantization": {"bits": 4, "group_size": 64, "mode": "nvfp4"}})"),
              "'nvfp4'");
}

TEST_F(QuantizedFilesTest, SchemesThatAreNotKnownAreRefusedByName) {
  const auto files = write({{"a.qweight", {DType::i32, {32, 1}}},
                            {"a.qzeros", {DType::i32, {1, 1}}},
                            {"a.scales", {DType::f16, {1, 8}}}});
  const auto settings = [&](const std::string& more) {
    return said(files, R"({"quantization_config": {"group_size": 32, )" + more + "}}");
  };
  EXPECT_EQ(settings(R"("quant_method": "awq")"), "accepted");
  EXPECT_SAID(settings(R"("quant_method": "awq", "version": "gemv")"), "'gemv'");
  EXPECT_SAID(settings(R"("quant_method": "awq", "bits": 3)"), "3 bits");
  EXPECT_SAID(settings(R"("quant_method": "gptq", "bits": 3)"), "3 bits");
  EXPECT_SAID(settings(R"("quant_method": "gptq", "checkpoint_format": "marlin")"), "'marlin'");
  EXPECT_SAID(settings(R"("quant_method": "gptq")"), "'a.qweight'");  // the shapes are AWQ's
  EXPECT_SAID(settings(R"("quant_method": "bitsandbytes")"), "'bitsandbytes'");
  EXPECT_SAID(settings(R"("quant_method": "compressed-tensors", "format": "pack-quantized")"),
              "'pack-quantized'");
}

TEST_F(QuantizedFilesTest, AGroupThatDoesNotExistIsAnError) {
  const auto files = write({{"a.qweight", {DType::i32, {8, 8}}},
                            {"a.qzeros", {DType::i32, {2, 1}}},
                            {"a.scales", {DType::f16, {2, 8}}},
                            {"a.g_idx", {DType::i32, {64}}}});
  EXPECT_SAID(said(files, R"({"quantization_config": {"quant_method": "gptq", "group_size": 32}})"),
              "a group that does not exist");
}

TEST_F(QuantizedFilesTest, StackedExpertsAreMatricesOfTheirOwn) {
  const auto files = unstack_experts(
      write({{"l.mlp.switch_mlp.up_proj.weight", {DType::f32, {2, 3, 4}}},
             {"m.block_sparse_moe.switch_mlp.down_proj.weight", {DType::f16, {1, 3, 4}}},
             {"norm.weight", {DType::f32, {4}}}}));
  EXPECT_EQ(files->names(),
            (std::vector<std::string>{"norm.weight", "l.mlp.experts.0.up_proj.weight",
                                      "l.mlp.experts.1.up_proj.weight",
                                      "m.block_sparse_moe.experts.0.w2.weight"}));
  EXPECT_EQ(files->find("l.mlp.experts.1.up_proj.weight")->shape, (Shape{3, 4}));
  EXPECT_EQ(files->find("l.mlp.experts.1.up_proj.weight")->bytes.size(), 48u);
}

TEST_F(QuantizedFilesTest, StacksWithoutExpertsAreLeftAsTheyAre) {
  for (const Shape& shape : {Shape{0, 3, 4}, Shape{2, 0, 4}, Shape{2, 3, 0}, Shape{3, 4}}) {
    const std::string name = "l.mlp.switch_mlp.up_proj.weight";
    const auto files = unstack_experts(write({{name, {DType::f32, shape}}}));
    EXPECT_EQ(files->names(), std::vector<std::string>{name});
    EXPECT_EQ(files->find(name)->shape, shape);
    EXPECT_FALSE(files->find("l.mlp.experts.0.up_proj.weight").ok());
  }
}

TEST(PutBlock, AndBackIsExactForEveryFormat) {
  for (const auto& [dtype, bits] : {std::pair{DType::affine2, 2},
                                    {DType::affine3, 3},
                                    {DType::q4_1, 4},
                                    {DType::q5_1, 5},
                                    {DType::affine6, 6},
                                    {DType::affine8, 8},
                                    {DType::affine2_f32, 2},
                                    {DType::affine3_f32, 3},
                                    {DType::affine4_f32, 4},
                                    {DType::affine5_f32, 5},
                                    {DType::affine6_f32, 6},
                                    {DType::affine8_f32, 8},
                                    {DType::zero4, 4},
                                    {DType::zero8, 8}}) {
    BlockParts parts;
    for (size_t i = 0; i < 32; ++i)
      parts.quants[i] = static_cast<uint8_t>((i * 37 + 11) % (size_t{1} << bits));
    parts.scale = 0.0625f;
    parts.bias = 3;
    std::vector<std::byte> block(static_cast<size_t>(traits(dtype).block_bytes));
    ASSERT_TRUE(put_block(dtype, parts, block.data()).ok());
    std::vector<float> values(32);
    to_f32(dtype, block.data(), values);
    const bool zero = dtype == DType::zero4 || dtype == DType::zero8;
    for (size_t i = 0; i < 32; ++i) {
      const auto quant = static_cast<float>(parts.quants[i]);
      EXPECT_EQ(values[i], zero ? (quant - 3) * 0.0625f : quant * 0.0625f + 3)
          << traits(dtype).name << " " << i;
    }
  }
  std::byte block[40];
  EXPECT_FALSE(put_block(DType::q4_1, {{}, 1e6f, 0}, block).ok());
}

}  // namespace
}  // namespace exo
