// The published and generated vectors of whole vocabularies: encode, decode and streamed decode.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/file.h"
#include "core/json.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

std::string gunzipped(const fs::path& path) {
  const std::string command = "gzip -dc '" + path.string() + "'";
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 1 << 16> buffer;
  size_t count = 0;
  while (pipe && (count = fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0)
    text.append(buffer.data(), count);
  return text;
}

std::vector<TokenId> ids_of(const Json& value) {
  std::vector<TokenId> ids;
  for (const Json& id : value.as_array()) ids.push_back(id.to_number<TokenId>());
  return ids;
}

std::string streamed(const std::shared_ptr<const Tokenizer>& tokenizer,
                     const std::vector<TokenId>& ids) {
  StreamDecoder decoder(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

// `lossless`: decoding gives the text back unless the vector says what else it gives.
void check(const std::shared_ptr<const Tokenizer>& tokenizer, const JsonObject& vector,
           bool lossless) {
  const std::string text(vector.at("text").as_string());
  const auto expected = ids_of(vector.at("ids"));
  EXPECT_EQ(tokenizer->encode(text), expected) << "text: " << text;
  const Json* other = vector.if_contains("decoded");
  const std::string decoded = other == nullptr ? text : std::string(other->as_string());
  if (lossless || other != nullptr) {
    EXPECT_EQ(tokenizer->decode(expected), decoded);
  }
  EXPECT_EQ(streamed(tokenizer, expected), tokenizer->decode(expected));
}

void check_file(const std::shared_ptr<const Tokenizer>& tokenizer, const fs::path& path,
                bool lossless) {
  std::ifstream file(path);
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const auto vector = parse_json(line);
    ASSERT_TRUE(vector.ok());
    check(tokenizer, vector->get_object(), lossless);
  }
  EXPECT_GT(count, 0) << path;
}

std::vector<std::string> vocabularies() {
  std::vector<std::string> names;
  const char* root = std::getenv("EXO_FIXTURES");
  std::error_code error;
  if (root != nullptr)
    for (const auto& entry : fs::directory_iterator(fs::path(root) / "tokenizers", error))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Vectors : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Vectors);

TEST_P(Vectors, EncodeDecodeAndStream) {
  const fs::path folder = fs::path(std::getenv("EXO_FIXTURES")) / "tokenizers" / GetParam();
  const auto tokenizer = parse_tokenizer_json(gunzipped(folder / "tokenizer.json.gz"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto meta = parse_json(read_file(folder / "meta.json", 1 << 20).value());
  ASSERT_TRUE(meta.ok());
  const bool lossless = meta->at("model").as_string() != "WordPiece";
  check_file(*tokenizer, folder / "vectors.jsonl", lossless);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Vectors, testing::ValuesIn(vocabularies()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Vectors, FixturesAreThere) {
  if (vocabularies().empty()) GTEST_SKIP() << "no vocabularies: EXO_FIXTURES is not set";
}

TEST(DemoModel, Vectors) {
  const fs::path demo = fs::path(EXO_SOURCE_DIR) / "models" / "demo";
  const auto text = read_file(demo / "golden" / "tokenizer.json", 1 << 24);
  if (!text.ok()) GTEST_SKIP() << "models/demo is not in this tree";
  const bool nested = fs::exists(demo / "model" / "tokenizer.json");
  const auto tokenizer = load_tokenizer(nested ? demo / "model" : demo);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto vectors = parse_json(*text);
  ASSERT_TRUE(vectors.ok());
  for (const Json& vector : vectors->as_array()) check(*tokenizer, vector.get_object(), true);
}

}  // namespace
}  // namespace exo
