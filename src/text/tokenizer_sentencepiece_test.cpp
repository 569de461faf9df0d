// A tokenizer read from tokenizer.model gives the ids of the same vocabulary's tokenizer.json.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "text/test_fixtures.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

constexpr size_t kMaxModelBytes = 64 * 1024 * 1024;

class SentencePiece : public testing::TestWithParam<std::string> {};

TEST_P(SentencePiece, SameIdsAsTokenizerJson) {
  const auto folder = vocabulary_folder(GetParam());
  if (folder.empty()) GTEST_SKIP() << "no vocabularies: EXO_FIXTURES is not set";
  // What tokenizer_config.json says about the tokens that are not in tokenizer.model.
  const Json file = parse_json(gunzipped(folder / "tokenizer.json.gz")).value();
  JsonObject tokens;
  for (const Json& token : file.at("added_tokens").as_array())
    tokens[std::to_string(token.at("id").to_number<int>())] = token;
  const JsonObject config{{"added_tokens_decoder", tokens}};
  const std::string model = read_file(folder / "tokenizer.model", kMaxModelBytes).value();
  const auto tokenizer = tokenizer_from_sentencepiece(model, config, {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto reference = parse_tokenizer_json(gunzipped(folder / "tokenizer.json.gz")).value();
  for (const TokenizerVector& vector : read_vectors(folder / "vectors.jsonl")) {
    EXPECT_EQ((*tokenizer)->encode(vector.text), vector.ids) << vector.text;
    EXPECT_EQ((*tokenizer)->decode(vector.ids), vector.decoded.value_or(vector.text));
    EXPECT_EQ((*tokenizer)->encode_with_special(vector.text),
              reference->encode_with_special(vector.text));
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, SentencePiece,
                         testing::Values("llama-spm", "mistral-v3", "phi-3"), [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// A model written by hand: the wire format needs no library in this direction either.
std::string field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(bytes.size())) + bytes;
}
std::string number(int number, int value) {
  const int tag = number << 3;
  std::string out;
  if (tag >= 128) out += static_cast<char>((tag & 0x7F) | 0x80);
  out += static_cast<char>(tag >= 128 ? tag >> 7 : tag);
  return out + static_cast<char>(value);
}
std::string piece(const std::string& text, float score, int type = 1) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return field(1, field(1, text) + std::string(1, 2 << 3 | 5) + bits + number(3, type));
}
std::string tiny_pieces() {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁", -3) +
         piece("a", -4) + piece("b", -4) + piece("▁a", -2) + piece("ab", -2.5f) + piece("▁ab", -9) +
         piece("<x>", 0, 4) + piece("zz", -1, 5);
}

TEST(SentencePieceModel, Unigram) {
  const auto tokenizer = tokenizer_from_sentencepiece(tiny_pieces(), {}, {}).value();
  EXPECT_EQ(tokenizer->encode("ab"), (std::vector<TokenId>{3, 7}));  // -5.5 beats -6 and -9
  EXPECT_EQ(tokenizer->encode("  a   b  "), (std::vector<TokenId>{6, 3, 5}));
  EXPECT_EQ(tokenizer->encode("a<x>zz"), (std::vector<TokenId>{6, 9, 3, 0}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{3, 7}), "ab");
  EXPECT_EQ(tokenizer->encode_with_special("a"), (std::vector<TokenId>{1, 6}));
}

TEST(SentencePieceModel, BpeAndItsSettings) {
  const std::string model = tiny_pieces() + field(2, number(3, 2)) +
                            field(3, number(3, 0) + number(4, 0));  // no prefix, spaces kept
  const auto tokenizer = tokenizer_from_sentencepiece(model, {}, {}).value();
  EXPECT_EQ(tokenizer->encode("ab"), (std::vector<TokenId>{7}));
  EXPECT_EQ(tokenizer->encode(" ab"), (std::vector<TokenId>{8}));
  EXPECT_EQ(tokenizer->encode("a  b"), (std::vector<TokenId>{4, 3, 3, 5}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{8}), " ab");
}

TEST(SentencePieceModel, MoreTokensFromTheOtherFiles) {
  const JsonObject config =
      parse_json(R"({"add_bos_token": false, "add_eos_token": true, "added_tokens_decoder":
          {"12": {"content": "<y>", "special": true, "rstrip": true, "normalized": false}}})")
          .value()
          .get_object();
  const auto tokenizer = tokenizer_from_sentencepiece(tiny_pieces(), config, {{"<z>", 11}}).value();
  EXPECT_EQ(tokenizer->encode("<z>a<y>  "), (std::vector<TokenId>{11, 6, 12}));
  EXPECT_EQ(tokenizer->encode_with_special("a"), (std::vector<TokenId>{6, 2}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{12, 6}, true), "a");
}

TEST(SentencePieceModel, RefusesWhatIsNone) {
  for (const std::string& bytes :
       {std::string(), std::string("IQ== 0\n"), std::string(3, '\xff'), piece("a", NAN),
        piece("a", 0, 9), tiny_pieces() + "\x0a\x7f", tiny_pieces() + field(2, number(3, 3)),
        tiny_pieces() + field(2, number(24, 1)), tiny_pieces() + field(3, field(2, "abc"))})
    EXPECT_FALSE(tokenizer_from_sentencepiece(bytes, {}, {}).ok());
}

}  // namespace
}  // namespace exo
