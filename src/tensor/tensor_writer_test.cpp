#include "tensor/tensor_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tensor/tensor_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class TensorWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("exo_tensor_writer_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

const std::vector<PlannedTensor> kPlan = {
    {"a", {DType::f32, {3}}}, {"empty", {DType::f32, {0}}}, {"b", {DType::q8_0, {2, 2, 32}}}};

Result<void> write_all(TensorWriter& writer) {
  const std::vector<std::byte> a(12, std::byte{1}), b(136, std::byte{2});
  TRY(writer.write(a));
  TRY(writer.write(std::span(b).first(50)));
  TRY(writer.write(std::span(b).subspan(50)));
  return writer.finish();
}

TEST_F(TensorWriterTest, GgufIsReadBackAsItWasWritten) {
  std::vector<PlannedTensor> plan = kPlan;
  plan.erase(plan.begin() + 1);  // GGUF has no empty dimension
  const JsonObject metadata{{"text", "x\xc3\xa9"},
                            {"small", 7},
                            {"large", uint64_t{1} << 40},
                            {"negative", -3},
                            {"real", 0.5},
                            {"flag", true},
                            {"texts", JsonArray{"a", ""}},
                            {"numbers", JsonArray{1, 2}},
                            {"huge", JsonArray{UINT64_MAX, uint64_t{1}}},
                            {"reals", JsonArray{0.5, -1.0}},
                            {"none", JsonArray{}}};
  const fs::path file = folder_ / "m.gguf";
  auto writer = TensorWriter::create_gguf(file, metadata, plan).value();
  EXPECT_FALSE(fs::exists(file));
  ASSERT_TRUE(write_all(writer).ok());
  EXPECT_EQ(writer.written_bytes(), writer.total_bytes());
  EXPECT_EQ(fs::file_size(file), writer.total_bytes());
  const auto files = open_gguf(file).value();
  for (const auto& [key, value] : metadata) EXPECT_EQ(files->metadata().at(key), value) << key;
  EXPECT_EQ(files->find("b")->shape, (Shape{2, 2, 32}));
  EXPECT_EQ(files->find("b")->bytes[135], std::byte{2});
  EXPECT_EQ(files->find("a")->bytes[11], std::byte{1});
}

TEST_F(TensorWriterTest, SafetensorsToo) {
  std::vector<PlannedTensor> plan = kPlan;
  plan[2] = {"b", {DType::bf16, {2, 34}}};
  auto writer =
      TensorWriter::create_safetensors(folder_ / "model.safetensors", {{"format", "pt"}}, plan)
          .value();
  ASSERT_TRUE(write_all(writer).ok());
  const auto files = open_safetensors(folder_).value();
  EXPECT_EQ(files->names(), (std::vector<std::string>{"a", "b", "empty"}));
  EXPECT_EQ(files->find("b")->shape, (Shape{2, 34}));
  EXPECT_EQ(files->find("b")->dtype, DType::bf16);
}

TEST_F(TensorWriterTest, NothingStaysOfAFileThatIsNotFinished) {
  {
    auto writer = TensorWriter::create_gguf(folder_ / "m.gguf", {}, {kPlan[0]}).value();
    EXPECT_TRUE(fs::exists(folder_ / "m.gguf.partial"));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(TensorWriterTest, RefusesWhatTheFormatsCannotHold) {
  const auto file = folder_ / "m";
  EXPECT_EQ(TensorWriter::create_gguf(file, {}, {{"x", {DType::f8_32, {32}}}}).error().code,
            ErrorCode::unsupported);
  EXPECT_EQ(TensorWriter::create_safetensors(file, {}, {{"x", {DType::q4_0, {32}}}}).error().code,
            ErrorCode::unsupported);
  EXPECT_EQ(TensorWriter::create_gguf(file, {{"k", JsonArray{1, "a"}}}, {}).error().code,
            ErrorCode::unsupported);
  EXPECT_EQ(
      TensorWriter::create_gguf(file, {}, {{"x", {DType::f32, {int64_t{1} << 60}}}}).error().code,
      ErrorCode::resource_exhausted);
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace exo
