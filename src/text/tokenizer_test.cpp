// Whole tokenizers, small enough to be read: added tokens, unknown characters, hostile files, and
// streamed decoding of arbitrary ids.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/stream_decoder.h"
#include "text/test_fixtures.h"
#include "text/unicode.h"

namespace exo {
namespace {

using Ids = std::vector<TokenId>;
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

struct Spec {
  std::string vocab = R"("a": 0, "b": 1, "ab": 2, "c": 3, " ": 4)";
  std::string merges = R"("a b")";
  std::string model_options;  // each with a comma in front
  std::string added;          // a list's inside
  std::string parts;          // other keys, each with a comma in front
};

Result<TokenizerPtr> load(const Spec& spec) {
  return parse_tokenizer_json(R"({"model": {"type": "BPE", "vocab": {)" + spec.vocab +
                              R"(}, "merges": [)" + spec.merges + "]" + spec.model_options +
                              R"(}, "added_tokens": [)" + spec.added + "]" + spec.parts + "}");
}

TokenizerPtr made(const Spec& spec) {
  auto tokenizer = load(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *tokenizer : nullptr;
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const auto tokenizer =
      made({R"("a": 0, "aa": 1, "b": 2, "ab": 3, "aab": 4)", R"("a a", ["a", "b"], ["aa", "b"])"});
  EXPECT_EQ(tokenizer->encode("aaa"), (Ids{1, 0}));
  EXPECT_EQ(tokenizer->encode("aab"), (Ids{4}));
  EXPECT_EQ(tokenizer->encode("ab"), (Ids{3}));
  EXPECT_EQ(tokenizer->encode("aaab"), (Ids{1, 3}));
}

TEST(Bpe, UnknownCharacters) {
  EXPECT_EQ(made({})->encode("axb"), (Ids{2}));  // no unk_token: they vanish before merging
  const std::string vocab = R"("a": 0, "<unk>": 1, "<0xC3>": 2, "<0xA9>": 3)";
  EXPECT_EQ(made({vocab, "", R"(, "unk_token": "<unk>")"})->encode("xya"), (Ids{1, 1, 0}));
  EXPECT_EQ(made({vocab, "", R"(, "unk_token": "<unk>", "fuse_unk": true)"})->encode("xya"),
            (Ids{1, 0}));
  const auto bytes = made({vocab, "", R"(, "unk_token": "<unk>", "byte_fallback": true)"});
  EXPECT_EQ(bytes->encode("éa"), (Ids{2, 3, 0}));
  EXPECT_EQ(bytes->encode("ü"), (Ids{1}));  // not all of its bytes are tokens
}

TEST(Bpe, IgnoreMergesKeepsWholePieces) {
  const std::string vocab = R"("a": 0, "b": 1, "ab": 2, "aba": 3)";
  EXPECT_EQ(made({vocab, R"("a b")"})->encode("aba"), (Ids{2, 0}));
  EXPECT_EQ(made({vocab, R"("a b")", R"(, "ignore_merges": true)"})->encode("aba"), (Ids{3}));
}

TEST(Bpe, PrefixesAndSuffixes) {
  const auto tokenizer =
      made({R"("a": 0, "##b": 1, "ab": 2, "##c</w>": 3)", R"("a ##b")",
            R"(, "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>")"});
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{2, 3}));
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  const auto tokenizer = made({.added = R"({"id": 5, "content": "<x>", "special": true},
                                           {"id": 6, "content": "<x>y", "special": true})"});
  EXPECT_EQ(tokenizer->encode("a<x>b<x>yb<x"), (Ids{0, 5, 1, 6, 1}));
  EXPECT_EQ(tokenizer->encode("a<x>b", false), (Ids{2}));  // ordinary text, and < x > are unknown
  EXPECT_EQ(tokenizer->size(), 7);
  EXPECT_TRUE(tokenizer->vocabulary().special[5]);
  EXPECT_EQ(tokenizer->vocabulary().bytes[2], " ab");
}

TEST(AddedTokens, TakeSpacesAndKeepWords) {
  const auto tokenizer = made({.added = R"(
      {"id": 5, "content": "<l>", "lstrip": true, "normalized": false},
      {"id": 6, "content": "<r>", "rstrip": true, "normalized": false},
      {"id": 7, "content": "c", "single_word": true, "normalized": false})"});
  EXPECT_EQ(tokenizer->encode("a  <l> b"), (Ids{0, 5, 4, 1}));
  EXPECT_EQ(tokenizer->encode("a <r>  b"), (Ids{0, 4, 6, 1}));
  EXPECT_EQ(tokenizer->encode("<r> <l>"), (Ids{6, 5}));
  EXPECT_EQ(tokenizer->encode("c ac c"), (Ids{3, 4, 0, 3, 4, 3}));  // "c" is the model's own id
}

TEST(AddedTokens, NormalizedOnesMatchNormalizedText) {
  const auto tokenizer = made({.added = R"({"id": 5, "content": "ABC", "normalized": true},
                                           {"id": 6, "content": "BA", "normalized": false})",
                               .parts = R"(, "normalizer": {"type": "Lowercase"})"});
  EXPECT_EQ(tokenizer->encode("Abc"), (Ids{5}));
  EXPECT_EQ(tokenizer->encode("BAba"), (Ids{6, 1, 0}));
}

TEST(AddedTokens, AreTextEvenInAByteAlphabet) {
  const auto tokenizer = made({R"("Ã": 0, "¸": 1)", "", "", R"({"id": 2, "content": "ø"})",
                               R"(, "decoder": {"type": "ByteLevel"})"});
  EXPECT_EQ(tokenizer->decode(Ids{2, 0, 1}), "øø");
  EXPECT_EQ(tokenizer->vocabulary().bytes[2], "ø");
  EXPECT_EQ(tokenizer->vocabulary().bytes[0], "\xC3");
}

TEST(Tokenizer, AddsWhatThePostProcessorSays) {
  const auto with = [](std::string_view processor) {
    return made({.parts = R"(, "post_processor": )" + std::string(processor)});
  };
  EXPECT_EQ(with("null")->encode_with_special("ab"), (Ids{2}));
  EXPECT_EQ(with(R"({"type": "BertProcessing", "sep": ["c", 3], "cls": ["a", 0]})")
                ->encode_with_special("ab"),
            (Ids{0, 2, 3}));
  EXPECT_EQ(with(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
                {"type": "TemplateProcessing",
                 "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A"}}],
                 "special_tokens": {"B": {"id": "B", "ids": [3, 3], "tokens": ["c", "c"]}}}]})")
                ->encode_with_special("ab"),
            (Ids{3, 3, 2}));
}

TEST(Tokenizer, RepairsBrokenUtf8First) {
  const auto tokenizer = made({R"("a": 0, "\ufffd": 1)", ""});
  EXPECT_EQ(tokenizer->encode("a\xFF\xF0\x9F"), (Ids{0, 1, 1}));
}

TEST(Tokenizer, DecodesOnlyIdsItHas) {
  const auto tokenizer = made({.added = R"({"id": 9, "content": "<s>", "special": true})"});
  EXPECT_EQ(tokenizer->decode(Ids{-1, 0, 7, 1000000, 9, 1}), "a <s> b");
  EXPECT_EQ(tokenizer->decode(Ids{0, 9, 1}, true), "a b");
}

TEST(Tokenizer, RefusesHostileFiles) {
  const auto error = [](const Spec& spec) {
    const auto tokenizer = load(spec);
    return tokenizer.ok() ? std::string() : tokenizer.error().message;
  };
  EXPECT_NE(error({R"("a": -1)", ""}), "");
  EXPECT_NE(error({R"("a": 2000000000)", ""}), "");
  EXPECT_NE(error({R"("a": "b")", ""}), "");
  EXPECT_NE(error({R"("a": 0)", R"("a b")"}), "");
  EXPECT_NE(error({R"("a": 0)", "7"}), "");
  EXPECT_NE(error({.added = R"({"id": 2000000000, "content": "x"})"}), "");
  EXPECT_NE(error({.added = "{}"}), "");
  EXPECT_NE(error({.parts = R"(, "decoder": {"type": "CTC"})"}), "");
  EXPECT_NE(error({.parts = R"(, "pre_tokenizer": {"type": "Split", "behavior": "Isolated",
                                  "pattern": {"Regex": "(("}})"}),
            "");
  for (const char* text : {"", "[]", "{}", "null", R"({"model": {"type": "Magic"}})"})
    EXPECT_FALSE(parse_tokenizer_json(text).ok()) << text;
}

TEST(Tokenizer, SaysWhichFileIsMissing) {
  const auto missing = load_tokenizer("/nonexistent/model");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("tokenizer.json"), std::string::npos);
}

// A tokenizer of another kind needs only vocabulary() to be streamed.
TEST(StreamDecoder, FallsBackToTheVocabulary) {
  struct Bytes final : Tokenizer {
    Bytes() { table.bytes = {"\xC3", "\xA9", "<s>"}, table.special = {false, false, true}; }
    Ids encode(std::string_view, bool) const override { return {}; }
    Ids encode_with_special(std::string_view) const override { return {}; }
    std::string decode(std::span<const TokenId>, bool) const override { return {}; }
    const Vocabulary& vocabulary() const override { return table; }
    int size() const override { return 3; }
    Vocabulary table;
  };
  StreamDecoder decoder(std::make_shared<Bytes>(), true);
  EXPECT_EQ(decoder.push(0), "");
  EXPECT_EQ(decoder.push(2), "");
  EXPECT_EQ(decoder.push(1), "é");
  EXPECT_EQ(decoder.push(0), "");
  EXPECT_EQ(decoder.push(99), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

void check_streams(const TokenizerPtr& tokenizer, unsigned seed) {
  std::mt19937 random(seed);
  for (int round = 0; round < 300; ++round) {
    const bool skip_special = random() % 2 == 0;
    // Bytes and control tokens are the low ids of most vocabularies: take many of these.
    const int range = random() % 2 == 0 ? std::min(300, tokenizer->size()) : tokenizer->size();
    StreamDecoder decoder(tokenizer, skip_special);
    Ids ids;
    std::string text;
    for (size_t length = random() % 24; ids.size() < length;) {
      ids.push_back(static_cast<TokenId>(random() % range));
      const std::string part = decoder.push(ids.back());
      ASSERT_TRUE(valid_utf8(part));
      text += part;
    }
    text += decoder.finish();
    ASSERT_EQ(text, tokenizer->decode(ids, skip_special));
  }
}

TEST(StreamDecoder, ArbitraryIdsOfRealVocabularies) {
  for (const char* name : {"gpt-2", "llama-spm", "bert-bge", "phi-3"}) {
    const auto folder = vocabulary_folder(name);
    if (folder.empty()) GTEST_SKIP() << "no vocabularies: EXO_FIXTURES is not set";
    const auto tokenizer = parse_tokenizer_json(gunzipped(folder / "tokenizer.json.gz"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    check_streams(*tokenizer, 11);
  }
}

}  // namespace
}  // namespace exo
