// A tokenizer.json written as GGUF keys and read back gives the same ids.
#include "text/tokenizer_to_gguf.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "text/test_fixtures.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class TokenizerToGguf : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("exo_to_gguf_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  fs::path folder_;
};

TEST_F(TokenizerToGguf, GivesTheIdsOfEveryVocabularyItCanExpress) {
  for (const auto& [name, pre] : {std::pair{"llama-bpe", "llama-bpe"},
                                  {"qwen2", "qwen2"},
                                  {"gpt-2", "gpt-2"},
                                  {"llama-spm", "default"},
                                  {"phi-3", "default"},
                                  {"mistral-v3", "default"},
                                  {"syn-o200k", "gpt-4o"},
                                  {"syn-tekken", "tekken"}}) {
    const fs::path fixture = vocabulary_folder(name);
    if (fixture.empty()) GTEST_SKIP() << "no vocabularies: EXO_FIXTURES is not set";
    const std::string text = gunzipped(fixture / "tokenizer.json.gz");
    write("tokenizer.json", text);
    const int size = parse_tokenizer_json(text).value()->size();
    const auto keys = tokenizer_to_gguf(folder_, size + 3);
    ASSERT_TRUE(keys.ok()) << name << ": " << keys.error().message;
    EXPECT_EQ(keys->at("tokenizer.ggml.pre").as_string(), pre) << name;
    EXPECT_EQ(keys->at("tokenizer.ggml.tokens").as_array().size(), static_cast<size_t>(size) + 3);
    const auto read = tokenizer_from_gguf(*keys);
    ASSERT_TRUE(read.ok()) << name << ": " << read.error().message;
    for (const TokenizerVector& vector : read_vectors(fixture / "vectors.jsonl"))
      EXPECT_EQ((*read)->encode(vector.text), vector.ids) << name << ": " << vector.text;
  }
}

constexpr const char* kTiny = R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
    "merges": [["a", "b"]]}, "added_tokens": [{"id": 3, "content": "<s>", "special": true},
    {"id": 4, "content": "</s>", "special": true}, {"id": 5, "content": "<tool>"}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "decoder": {"type": "ByteLevel"}})";

TEST_F(TokenizerToGguf, NamesSpecialTokensAndPadsTheRest) {
  write("tokenizer.json", kTiny);
  write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"},
      "chat_template": [{"name": "default", "template": "{{ messages }}"},
                        {"name": "tool_use", "template": "{{ tools }}"}]})");
  write("generation_config.json", R"({"eos_token_id": [4, 5]})");
  const JsonObject keys = tokenizer_to_gguf(folder_, 8).value();
  EXPECT_EQ(keys.at("tokenizer.ggml.bos_token_id"), 3);
  EXPECT_EQ(keys.at("tokenizer.ggml.eos_token_id"), 4);
  EXPECT_EQ(keys.at("tokenizer.ggml.eot_token_id"), 5);
  EXPECT_EQ(keys.at("tokenizer.ggml.token_type"), (JsonArray{1, 1, 1, 3, 3, 4, 5, 5}));
  EXPECT_EQ(keys.at("tokenizer.ggml.merges"), JsonArray{"a b"});
  EXPECT_EQ(keys.at("tokenizer.ggml.add_bos_token"), false);
  EXPECT_EQ(keys.at("tokenizer.chat_template"), "{{ messages }}");
  EXPECT_EQ(keys.at("tokenizer.chat_template.tool_use"), "{{ tools }}");
}

TEST_F(TokenizerToGguf, SaysWhetherASpaceGoesInFront) {
  for (const auto& [normalizer, prefix] :
       {std::pair{R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})",
                  true},
        {R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})", false}}) {
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte)
      bytes += fmt::format(R"(, "<0x{:02X}>": {})", byte, byte + 4);
    write(
        "tokenizer.json", R"({"model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
        "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3)" +
                              bytes + R"(}, "merges": [["▁", "a"]]},
        "normalizer": )" + std::string(normalizer) +
                              "}");
    const auto keys = tokenizer_to_gguf(folder_, 260);
    ASSERT_TRUE(keys.ok()) << keys.error().message;
    EXPECT_EQ(keys->at("tokenizer.ggml.add_space_prefix"), prefix);
    const auto ids = tokenizer_from_gguf(*keys).value()->encode("a a");
    EXPECT_EQ(ids, (prefix ? std::vector<TokenId>{3, 3} : std::vector<TokenId>{2, 3}));
  }
}

TEST_F(TokenizerToGguf, RefusesWhatHasNoName) {
  EXPECT_TRUE(tokenizer_to_gguf(folder_, 8)->empty());
  const auto message = [&](const std::string& from, const std::string& to, int size = 8) {
    std::string text = kTiny;
    text.replace(text.find(from), from.size(), to);
    write("tokenizer.json", text);
    const auto keys = tokenizer_to_gguf(folder_, size);
    return keys.ok() ? "accepted" : keys.error().message;
  };
  EXPECT_NE(message(R"("type": "ByteLevel", "add_prefix_space": false, "use_regex": true)",
                    R"("type": "Split", "behavior": "Isolated", "pattern": {"Regex": "x+"})")
                .find("no name in GGUF"),
            std::string::npos);
  EXPECT_NE(message("<tool>", "<tool>", 5).find("'<tool>' has an id outside"), std::string::npos);
}

}  // namespace
}  // namespace exo
