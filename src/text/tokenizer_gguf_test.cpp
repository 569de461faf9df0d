// A tokenizer read from GGUF metadata gives the ids of the same vocabulary's tokenizer.json.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "text/byte_alphabet.h"
#include "text/gguf_pre_kinds.h"
#include "text/test_fixtures.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

struct Case {
  std::string folder, model, pre;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder; }

// In Llama's vocabulary: minus the token's rank, except for runs of spaces.
double sentencepiece_score(std::string_view token, size_t id) {
  while (token.starts_with("▁")) token.remove_prefix(3);
  return token.empty() ? -1e9 : -static_cast<double>(id);
}

// What a converter writes into GGUF for this tokenizer.json.
JsonObject metadata_of(const JsonObject& file, const Case& one) {
  JsonObject metadata;
  metadata["tokenizer.ggml.model"] = one.model;
  metadata["tokenizer.ggml.pre"] = one.pre;
  const JsonObject& vocab = file.at("model").at("vocab").as_object();
  size_t size = vocab.size();
  const JsonArray& added = file.at("added_tokens").as_array();
  for (const Json& token : added)
    size = std::max<size_t>(size, token.at("id").to_number<size_t>() + 1);
  JsonArray tokens(size, ""), types(size, 1), scores(size, 0.0);
  for (const auto& entry : vocab) tokens[entry.value().to_number<size_t>()] = entry.key();
  for (size_t id = 0; id < size; ++id) {
    scores[id] = sentencepiece_score(tokens[id].as_string(), id);
    if (id >= 3 && id < 259) types[id] = one.model == "llama" ? 6 : 1;
  }
  for (const Json& token : added) {
    const auto id = token.at("id").to_number<size_t>();
    tokens[id] = token.at("content");
    types[id] = token.at("special").as_bool() ? 3 : 4;
  }
  if (one.pre == "marked")  // as newer converters write BERT's tokens
    for (Json& token : tokens) {
      const std::string text(token.as_string());
      if (text.starts_with("##"))
        token = text.substr(2);
      else if (!text.starts_with('[') || !text.ends_with(']'))
        token = "▁" + text;
    }
  metadata["tokenizer.ggml.tokens"] = std::move(tokens);
  metadata["tokenizer.ggml.token_type"] = std::move(types);
  metadata["tokenizer.ggml.scores"] = std::move(scores);
  if (const Json* merges = file.at("model").as_object().if_contains("merges"))
    metadata["tokenizer.ggml.merges"] = *merges;
  metadata["tokenizer.ggml.bos_token_id"] = 1;
  return metadata;
}

class Gguf : public testing::TestWithParam<Case> {};

TEST_P(Gguf, SameIdsAsTokenizerJson) {
  const auto folder = vocabulary_folder(GetParam().folder);
  if (folder.empty()) GTEST_SKIP() << "no vocabularies: EXO_FIXTURES is not set";
  const Json file = parse_json(gunzipped(folder / "tokenizer.json.gz")).value();
  const auto tokenizer = tokenizer_from_gguf(metadata_of(file.as_object(), GetParam()));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  for (const TokenizerVector& vector : read_vectors(folder / "vectors.jsonl")) {
    EXPECT_EQ((*tokenizer)->encode(vector.text), vector.ids) << vector.text;
    if (GetParam().model == "bert") continue;  // its text cannot be restored
    EXPECT_EQ((*tokenizer)->decode(vector.ids), vector.decoded.value_or(vector.text));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies, Gguf,
    testing::Values(Case{"gpt-2", "gpt2", "gpt-2"}, Case{"llama-bpe", "gpt2", "llama-bpe"},
                    Case{"qwen2", "gpt2", "qwen2"}, Case{"syn-o200k", "gpt2", "gpt-4o"},
                    Case{"syn-deepseek-v3", "gpt2", "deepseek-v3"}, Case{"llama-spm", "llama", ""},
                    Case{"mistral-v3", "llama", ""}, Case{"deepseek-llm", "gpt2", "deepseek-llm"},
                    Case{"syn-tekken", "gpt2", "tekken"}, Case{"bert-bge", "bert", ""},
                    Case{"bert-bge", "bert", "marked"}),
    [](const auto& info) {
      std::string name = info.param.folder + (info.param.pre == "marked" ? "_marked" : "");
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(Gguf, NamesWhatItDoesNotKnow) {
  JsonObject metadata;
  EXPECT_FALSE(tokenizer_from_gguf(metadata).ok());
  metadata["tokenizer.ggml.model"] = "rwkv";
  EXPECT_NE(tokenizer_from_gguf(metadata).error().message.find("rwkv"), std::string::npos);
  metadata["tokenizer.ggml.model"] = "gpt2";
  metadata["tokenizer.ggml.pre"] = "nobody-knows";
  EXPECT_EQ(tokenizer_from_gguf(metadata).error().code, ErrorCode::unsupported);
}

TEST(Gguf, EveryKnownPreTokenizerLoadsAndKeepsTheText) {
  JsonArray tokens;
  const std::string text = "It's 12345 Ünïcödé, 日本語です！\r\n\n  x\t🙂 naïve 3.14 ";
  for (int byte = 0; byte < 256; ++byte)
    tokens.push_back(Json(to_byte_alphabet(std::string(1, static_cast<char>(byte)))));
  JsonObject metadata{{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.tokens", tokens}};
  metadata["tokenizer.ggml.merges"] = JsonArray();
  std::string all;
  for (const GgufPreKind& kind : gguf_pre_kinds()) all += kind.names;
  std::istringstream names(all);
  for (std::string name; names >> name;) {
    metadata["tokenizer.ggml.pre"] = name;
    const auto tokenizer = tokenizer_from_gguf(metadata);
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->decode((*tokenizer)->encode(text)), text) << name;
  }
}

TEST(Gguf, T5IsUnigramWithAnEndOfSequence) {
  const auto tokenizer = tokenizer_from_gguf(parse_json(R"({"tokenizer.ggml.model": "t5",
      "tokenizer.ggml.tokens": ["<pad>", "</s>", "<unk>", "▁", "a", "▁a"],
      "tokenizer.ggml.token_type": [3, 3, 2, 1, 1, 1],
      "tokenizer.ggml.scores": [0, 0, 0, -2, -3, -1],
      "tokenizer.ggml.remove_extra_whitespaces": true,
      "tokenizer.ggml.eos_token_id": 1})")
                                                 .value()
                                                 .as_object());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode_with_special(" a  a "), (std::vector<TokenId>{5, 5, 1}));
  EXPECT_EQ((*tokenizer)->encode("ab"), (std::vector<TokenId>{5, 2}));
}

TEST(Gguf, RejectsListsThatDoNotFitAndSkipsLostMerges) {
  const auto load = [](const char* text) {
    return tokenizer_from_gguf(parse_json(text).value().as_object());
  };
  const auto short_scores = load(R"({"tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.scores": [1.0]})");
  EXPECT_EQ(short_scores.error().code, ErrorCode::corrupt);
  const auto no_bytes = load(R"({"tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": ["a"],
      "tokenizer.ggml.scores": [1.0], "tokenizer.ggml.token_type": [1],
      "tokenizer.ggml.precompiled_charsmap": [18446744073709551615]})");
  EXPECT_EQ(no_bytes.error().code, ErrorCode::corrupt);
  const auto lost_merge = load(R"({"tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.merges": ["a b"]})");
  ASSERT_TRUE(lost_merge.ok());  // llama.cpp never meets such a merge
  EXPECT_EQ((*lost_merge)->encode("ab"), (std::vector<TokenId>{0, 1}));
}

TEST(Gguf, AddsBosWhereTheFileSaysSo) {
  const auto tokenizer = tokenizer_from_gguf(parse_json(R"({"tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": ["<unk>", "<s>", "▁", "a", "▁a"],
      "tokenizer.ggml.token_type": [2, 3, 1, 1, 1],
      "tokenizer.ggml.scores": [0, 0, -2, -3, -1],
      "tokenizer.ggml.bos_token_id": 1})")
                                                 .value()
                                                 .as_object());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode_with_special("a"), (std::vector<TokenId>{1, 4}));
  EXPECT_EQ((*tokenizer)->encode("aa"), (std::vector<TokenId>{4, 3}));
}

}  // namespace
}  // namespace exo
