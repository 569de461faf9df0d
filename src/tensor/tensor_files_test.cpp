#include "tensor/tensor_files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tensor/quantize.h"
#include "tensor/tensor_index.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class TensorFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / (std::string("exo_tensor_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  fs::path folder_;
};

fs::path fixtures() {
  const char* path = std::getenv("EXO_FIXTURES");
  return path ? fs::path(path) : fs::path(EXO_SOURCE_DIR) / "tests/golden";
}

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string safetensors(const std::string& header, size_t data_bytes) {
  return raw<uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}
Result<TensorIndex> parse(const std::string& bytes,
                          Result<TensorIndex> (*parser)(std::span<const std::byte>)) {
  return parser(std::as_bytes(std::span(bytes)));
}
void expect_corrupt(const Result<TensorIndex>& index, const std::string& part) {
  ASSERT_FALSE(index.ok()) << "expected: " << part;
  EXPECT_NE(index.error().message.find(part), std::string::npos) << index.error().message;
}
std::string entry(const std::string& dtype, const std::string& shape, const std::string& range) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + range + "]}";
}

TEST_F(TensorFilesTest, ReadsOneSafetensorsFile) {
  write("model.safetensors",
        safetensors("{\"__metadata__\":{\"format\":\"pt\"},\"a\":" + entry("F32", "2,3", "0,24") +
                        ",\"b\":" + entry("F64", "1", "24,32") + "}",
                    32));
  const auto files = open_safetensors(folder_).value();
  EXPECT_EQ(files->names(), (std::vector<std::string>{"a", "b"}));
  const HostTensor a = files->find("a").value();
  EXPECT_EQ(a.shape, (Shape{2, 3}));
  EXPECT_EQ(a.bytes.size(), 24u);
  EXPECT_EQ(files->find("b").error().code, ErrorCode::unsupported);
  EXPECT_NE(files->find("b").error().message.find("F64"), std::string::npos);
  EXPECT_EQ(files->find("c").error().code, ErrorCode::not_found);
  EXPECT_EQ(files->header_digest().size(), 64u);
}

TEST_F(TensorFilesTest, RefusesHostileSafetensors) {
  const auto one = [](const std::string& e, size_t data) {
    return parse(safetensors("{\"a\":" + e + "}", data), parse_safetensors);
  };
  expect_corrupt(parse("abc", parse_safetensors), "too short");
  expect_corrupt(parse(raw<uint64_t>(1), parse_safetensors), "ends inside");
  expect_corrupt(parse(raw<uint64_t>(UINT64_MAX) + "{}", parse_safetensors), "header of");
  expect_corrupt(one(entry("F32", "2", "0,8"), 4), "do not lie");
  expect_corrupt(one(entry("F32", "2", "8,0"), 8), "do not lie");
  expect_corrupt(one(entry("F32", "2", "-8,0"), 8), "no size");
  expect_corrupt(one(entry("F32", "3", "0,8"), 8), "other bytes");
  expect_corrupt(one(entry("U8", "4294967296,4294967296", "0,0"), 8), "other bytes");
  expect_corrupt(one(entry("WHAT", "4294967296,4294967296", "0,0"), 8), "too large");
  expect_corrupt(one("[]", 8), "not described");
  expect_corrupt(parse(safetensors("[1]", 0), parse_safetensors), "no JSON object");
  const std::string two = "{\"a\":" + entry("U8", "8", "0,8") + ",";
  expect_corrupt(
      parse(safetensors(two + "\"b\":" + entry("U8", "8", "4,12") + "}", 12), parse_safetensors),
      "overlap");
  expect_corrupt(
      parse(safetensors(two + "\"a\":" + entry("U8", "8", "8,16") + "}", 16), parse_safetensors),
      "repeats");
}

TEST_F(TensorFilesTest, ShardsMustStayInTheirFolderAndBeThere) {
  const auto index = [&](const std::string& file) {
    write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"" + file + "\"}}");
    return open_safetensors(folder_);
  };
  for (const char* name : {"../x.safetensors", "/x.safetensors", "d/x.safetensors", "x.bin",
                           "..safetensors", "x\\\\y.safetensors", ""})
    EXPECT_EQ(index(name).error().code, ErrorCode::corrupt) << name;
  EXPECT_EQ(index("x.safetensors").error().code, ErrorCode::not_found);
  write("x.safetensors", safetensors("{\"b\":" + entry("U8", "8", "0,8") + "}", 8));
  EXPECT_NE(index("x.safetensors").error().message.find("'a' is not in"), std::string::npos);
  write("x.safetensors", safetensors("{\"a\":" + entry("U8", "8", "0,8") + "}", 8));
  EXPECT_EQ(index("x.safetensors").value()->find("a").value().bytes.size(), 8u);
}

std::string text(const std::string& value) { return raw<uint64_t>(value.size()) + value; }
std::string gguf_head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys);
}
std::string tensor_info(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                        uint64_t offset) {
  std::string info = text(name) + raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) info += raw(dim);
  return info + raw(type) + raw(offset);
}
std::string with_data(std::string header, size_t data_bytes) {
  header.resize((header.size() + 31) / 32 * 32);
  return header + std::string(data_bytes, '\2');
}

TEST_F(TensorFilesTest, ReadsGguf) {
  const std::string keys = text("general.name") + raw<uint32_t>(8) + text("x") +  //
                           text("n") + raw<uint32_t>(10) + raw<uint64_t>(7) +     //
                           text("list") + raw<uint32_t>(9) + raw<uint32_t>(7) + raw<uint64_t>(2) +
                           "\1" + std::string(1, '\0');
  const auto file =
      write("m.gguf", with_data(gguf_head(2, 3) + keys + tensor_info("q", {64, 2}, 8, 0) +
                                    tensor_info("k", {256}, 9, 160),
                                160 + 288));
  const auto files = open_gguf(file).value();
  const HostTensor q = files->find("q").value();
  EXPECT_EQ(q.dtype, DType::q8_0);
  EXPECT_EQ(q.shape, (Shape{2, 64}));
  EXPECT_EQ(q.bytes.size(), 136u);
  EXPECT_NE(files->find("k").error().message.find("Q8_1"), std::string::npos);
  EXPECT_EQ(get_int(files->metadata(), "n").value(), 7);
  EXPECT_EQ(files->metadata().at("list").as_array(), (JsonArray{true, false}));
}

TEST_F(TensorFilesTest, RefusesHostileGguf) {
  const auto gguf = [](const std::string& bytes) { return parse(bytes, parse_gguf); };
  const auto one = [&](const std::string& info, size_t data) {
    return gguf(with_data(gguf_head(1, 0) + info, data));
  };
  expect_corrupt(gguf("GGML"), "no GGUF file");
  expect_corrupt(gguf(gguf_head(0, 0, 1)), "version 1");
  expect_corrupt(gguf(gguf_head(0, 0, 0x03000000)), "big-endian");
  expect_corrupt(gguf(gguf_head(UINT64_MAX, 0)), "at most");
  expect_corrupt(gguf(gguf_head(0, 1)), "ends inside");
  expect_corrupt(gguf(gguf_head(0, 1) + raw<uint64_t>(UINT64_MAX)), "a text of");
  const std::string list = text("l") + raw<uint32_t>(9);
  expect_corrupt(gguf(gguf_head(0, 1) + list + raw<uint32_t>(4) + raw<uint64_t>(1u << 30)),
                 "longer than the file");
  std::string deep = list;
  for (int i = 0; i < 10; ++i) deep += raw<uint32_t>(9) + raw<uint64_t>(1);
  expect_corrupt(gguf(gguf_head(0, 1) + deep), "nested");
  const std::string key = text("a") + raw<uint32_t>(4) + raw<uint32_t>(1);
  expect_corrupt(gguf(gguf_head(0, 2) + key + key), "twice");
  const std::string align = text("general.alignment") + raw<uint32_t>(4) + raw<uint32_t>(24);
  expect_corrupt(gguf(gguf_head(0, 1) + align), "power of two");
  expect_corrupt(one(tensor_info("t", {33}, 8, 0), 64), "does not fit");
  expect_corrupt(one(tensor_info("t", {uint64_t{1} << 62, 1024}, 0, 0), 64), "does not fit");
  expect_corrupt(one(tensor_info("t", {0}, 0, 0), 64), "dimension of 0");
  expect_corrupt(one(tensor_info("t", {1, 1, 1, 1, 1}, 0, 0), 64), "dimensions");
  expect_corrupt(one(tensor_info("t", {8}, 0, 8), 64), "not aligned");
  expect_corrupt(one(tensor_info("t", {8}, 0, UINT64_MAX - 31), 64), "beyond");
  expect_corrupt(one(tensor_info("t", {17}, 0, 0), 64), "cut short");
  const std::string info = tensor_info("t", {8}, 0, 0);
  expect_corrupt(gguf(with_data(gguf_head(2, 0) + info + info, 64)), "listed twice");
  expect_corrupt(gguf(with_data(gguf_head(2, 0) + info + tensor_info("u", {8}, 0, 0), 64)),
                 "overlap");
}

std::string split_keys(uint16_t number, uint16_t count, int32_t tensors) {
  return text("split.no") + raw<uint32_t>(2) + raw(number) +    //
         text("split.count") + raw<uint32_t>(2) + raw(count) +  //
         text("split.tensors.count") + raw<uint32_t>(5) + raw(tensors);
}
// Part `number` (from 0) with one tensor of two float32.
std::string part(uint16_t number, uint16_t count, int32_t tensors) {
  const std::string name(1, static_cast<char>('a' + number));
  return with_data(
      gguf_head(1, 3) + split_keys(number, count, tensors) + tensor_info(name, {2}, 0, 0), 8);
}

TEST_F(TensorFilesTest, AnyPartOpensTheWholeSplitGguf) {
  write("m-00001-of-00003.gguf", part(0, 3, 3));
  write("m-00002-of-00003.gguf", part(1, 3, 3));
  const auto last = write("m-00003-of-00003.gguf", part(2, 3, 3));
  const auto files = open_gguf(last).value();
  EXPECT_EQ(files->names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(files->find("b").value().bytes.size(), 8u);
  EXPECT_EQ(get_int(files->metadata(), "split.no").value(), 0);
  EXPECT_EQ(files->header_digest(),
            open_gguf(folder_ / "m-00001-of-00003.gguf").value()->header_digest());
}

TEST_F(TensorFilesTest, RefusesSplitsThatDoNotFit) {
  const auto expect = [&](const fs::path& file, ErrorCode code, const std::string& said) {
    const auto files = open_gguf(file);
    ASSERT_FALSE(files.ok());
    EXPECT_EQ(files.error().code, code);
    EXPECT_NE(files.error().message.find(said), std::string::npos) << files.error().message;
  };
  const auto first = write("m-00001-of-00002.gguf", part(0, 2, 2));
  expect(first, ErrorCode::not_found, "part 2 of 2 is missing: there is no");
  write("m-00002-of-00002.gguf", part(1, 2, 3));
  expect(first, ErrorCode::corrupt, "does not belong");
  write("m-00002-of-00002.gguf", part(0, 2, 2));
  expect(first, ErrorCode::corrupt, "part 1 of 2 with");
  expect(write("renamed.gguf", part(0, 2, 2)), ErrorCode::corrupt, "must end in '-00001-of-00002");
  expect(write("h.gguf", part(0, 60000, 2)), ErrorCode::corrupt, "part 1 of 60000");
  write("n-00001-of-00002.gguf", part(0, 2, 5));
  write("n-00002-of-00002.gguf", part(1, 2, 5));
  expect(folder_ / "n-00001-of-00002.gguf", ErrorCode::corrupt, "but 5 belong");
}

TEST(GgufPartName, IsReadAndWritten) {
  const auto name = parse_gguf_part_name("a-b-00002-of-00010.gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->base, "a-b");
  EXPECT_EQ(name->part, 2);
  EXPECT_EQ(gguf_part_name(*name), "a-b-00002-of-00010.gguf");
  for (const char* other :
       {"m.gguf", "-00001-of-00002.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf",
        "m-0001-of-00002.gguf", "m-00001-of-00002.bin"})
    EXPECT_FALSE(parse_gguf_part_name(other).has_value()) << other;
}

TEST_F(TensorFilesTest, AnyCutOfARealFileIsAnError) {
  const fs::path file = fixtures() / "gguf/llamaq-Q4_0.gguf";
  if (!fs::exists(file)) GTEST_SKIP() << "no fixture " << file;
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  for (size_t size = 0; size < bytes.size(); size += 997)
    EXPECT_FALSE(parse(bytes.substr(0, size), parse_gguf).ok());
  EXPECT_TRUE(parse(bytes, parse_gguf).ok());
  EXPECT_EQ(open_gguf(file).value()->metadata().at("general.architecture").as_string(), "llama");
}

TEST(Quantize, DequantisesBitForBit) {
  const fs::path file = fixtures() / "gguf/dequant_vectors.safetensors";
  if (!fs::exists(file)) GTEST_SKIP() << "no fixture " << file;
  const auto vectors = open_safetensors_file(file).value();
  for (const auto& [name, dtype] :
       {std::pair{"F16", DType::f16}, {"Q8_0", DType::q8_0}, {"Q4_0", DType::q4_0}}) {
    const HostTensor packed = vectors->find(std::string(name) + ".raw").value();
    const HostTensor expected = vectors->find(std::string(name) + ".f32").value();
    std::vector<float> values(static_cast<size_t>(expected.elements()));
    to_f32(dtype, packed.bytes.data(), values);
    EXPECT_EQ(std::memcmp(values.data(), expected.bytes.data(), expected.bytes.size()), 0) << name;
    // What came out of blocks goes back into the same values.
    std::vector<std::byte> again(packed.bytes.size());
    from_f32(dtype, values, again.data());
    std::vector<float> twice(values.size());
    to_f32(dtype, again.data(), twice);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], twice[i], 1e-2 * std::abs(values[i]) + 1e-3) << name << " " << i;
  }
}

TEST(Quantize, FollowsTheRoundingRules) {
  std::vector<float> in(32, 0.0f);
  in[0] = -127.0f;
  in[1] = 0.5f;  // halves go away from zero
  in[2] = -0.5f;
  in[3] = NAN;
  std::byte out[34];
  from_f32(DType::q8_0, in, out);
  EXPECT_EQ(static_cast<int8_t>(out[2]), -127);
  EXPECT_EQ(static_cast<int8_t>(out[3]), 1);
  EXPECT_EQ(static_cast<int8_t>(out[4]), -1);
  EXPECT_EQ(static_cast<int8_t>(out[5]), 0);
  in.assign(32, 1.0f);
  in[5] = 8.0f;  // the extreme maps to -8, so d is -1 and 1 becomes 7
  from_f32(DType::q4_0, in, out);
  EXPECT_EQ(std::to_integer<int>(out[2]), 0x77);
  EXPECT_EQ(std::to_integer<int>(out[2 + 5]), 0x70);
}

}  // namespace
}  // namespace exo
