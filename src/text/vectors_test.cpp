// The published and generated vectors of whole vocabularies: encode, decode and streamed decode.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "text/stream_decoder.h"
#include "text/test_fixtures.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

std::string streamed(const TokenizerPtr& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder decoder(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

// `lossless`: decoding gives the text back unless the vector says what else it gives.
void check(const TokenizerPtr& tokenizer, const TokenizerVector& vector, bool lossless) {
  EXPECT_EQ(tokenizer->encode(vector.text), vector.ids) << "text: " << vector.text;
  const std::string decoded = tokenizer->decode(vector.ids);
  if (lossless || vector.decoded) {
    EXPECT_EQ(decoded, vector.decoded.value_or(vector.text));
  }
  EXPECT_EQ(streamed(tokenizer, vector.ids), decoded);
}

std::vector<std::string> vocabularies() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(vocabulary_folder(""), error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Vectors : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Vectors);

TEST_P(Vectors, EncodeDecodeAndStream) {
  const fs::path folder = vocabulary_folder(GetParam());
  const auto tokenizer = parse_tokenizer_json(gunzipped(folder / "tokenizer.json.gz"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const Json meta = parse_json(read_file(folder / "meta.json", 1 << 20).value()).value();
  const bool lossless = meta.at("model").as_string() != "WordPiece";
  const auto vectors = read_vectors(folder / "vectors.jsonl");
  EXPECT_FALSE(vectors.empty());
  for (const TokenizerVector& vector : vectors) check(*tokenizer, vector, lossless);
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
  const Json vectors = parse_json(*text).value();
  for (const Json& vector : vectors.as_array()) check(*tokenizer, read_vector(vector), true);
}

}  // namespace
}  // namespace exo
