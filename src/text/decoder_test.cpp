#include "text/decoder.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo {
namespace {

using Tokens = std::vector<std::string>;

// Decodes token by token; every part that comes out is whole characters.
std::string decoded(std::string_view json, const Tokens& tokens) {
  const auto decoder = parse_decoder(parse_json(json).value());
  EXPECT_TRUE(decoder.ok()) << json << ": " << decoder.error().message;
  if (!decoder.ok()) return "";
  DecodeChain chain(**decoder);
  std::string text;
  for (const std::string& token : tokens) text += chain.push(token);
  return text + chain.finish();
}

constexpr std::string_view kLlama = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";

TEST(TokenDecoder, ByteLevelJoinsBytesAcrossTokens) {
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {"ðŁ", "ĺ", "Ģ", "Ġx"}), "😀 x");
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {"ðŁ", "x"}), "\uFFFDx");
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {"a b", "字"}), "a b字");  // not of the alphabet
}

TEST(TokenDecoder, LlamaStripsOneSpaceAndJoinsBytes) {
  EXPECT_EQ(decoded(kLlama, {"▁Hello", "▁world"}), "Hello world");
  EXPECT_EQ(decoded(kLlama, {"▁▁", "x"}), " x");
  EXPECT_EQ(decoded(kLlama, {"▁", "<0xE2>", "<0x82>", "<0xAC>"}), "€");
  EXPECT_EQ(decoded(kLlama, {"<0xE2>", "<0x82>", "a"}), "\uFFFD\uFFFDa");
  // One broken byte spoils its whole run.
  EXPECT_EQ(decoded(kLlama, {"<0x41>", "<0xFF>", "a"}), "\uFFFD\uFFFDa");
  EXPECT_EQ(decoded(kLlama, {"<0xZZ>"}), "<0xZZ>");
}

TEST(TokenDecoder, LlamaStreamsWhatIsCertain) {
  const auto decoder = parse_decoder(parse_json(kLlama).value());
  DecodeChain chain(**decoder);
  EXPECT_EQ(chain.push("▁Hi"), "Hi");
  EXPECT_EQ(chain.push("▁you"), " you");
  EXPECT_EQ(chain.push("<0xC3>"), "");
  EXPECT_EQ(chain.push("<0xA9>"), "");  // the run may still turn out broken
  EXPECT_EQ(chain.push("!"), "é!");
  EXPECT_EQ(chain.finish(), "");
}

TEST(TokenDecoder, StripHoldsBackWhatMayBeTrailing) {
  constexpr std::string_view kStrip = R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Strip", "content": "x", "start": 2, "stop": 2}]})";
  EXPECT_EQ(decoded(kStrip, {"x", "xx", "a", "x", "xx"}), "xax");
  EXPECT_EQ(decoded(kStrip, {"xaxx", "b"}), "axxb");
  EXPECT_EQ(decoded(kStrip, {"xxxx", "x"}), "x");
  EXPECT_EQ(decoded(kStrip, {"axx", "xx", "xa"}), "axxxxxa");
  EXPECT_EQ(decoded(R"({"type": "Strip", "content": "x", "start": 1, "stop": 1})", {"xax", "xbx"}),
            "ab");
}

TEST(TokenDecoder, Metaspace) {
  constexpr std::string_view kMeta = R"({"type": "Metaspace", "replacement": "▁"})";
  EXPECT_EQ(decoded(kMeta, {"▁a▁b", "▁c"}), "ab c");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})",
                    {"▁a", "▁b"}),
            " a b");
}

TEST(TokenDecoder, WordPieceJoinsAndCleansUp) {
  constexpr std::string_view kWordPiece = R"({"type": "WordPiece"})";
  EXPECT_EQ(decoded(kWordPiece, {"un", "##aff", "##able", ",", "it", "'s"}), "unaffable, it's");
  EXPECT_EQ(decoded(R"({"type": "WordPiece", "cleanup": false})", {"a", "."}), "a .");
}

TEST(TokenDecoder, SuffixAndNone) {
  EXPECT_EQ(decoded(R"({"type": "BPEDecoder"})", {"he", "llo</w>", "you</w>"}), "hello you");
  EXPECT_EQ(decoded("null", {"a", "", "b"}), "a  b");
  EXPECT_EQ(decoded("null", {}), "");
}

TEST(TokenDecoder, RefusesMoreReplacementsThanAnyoneNeeds) {
  const std::string one = R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})";
  const std::string json =
      R"({"type": "Sequence", "decoders": [)" + one + "," + one + "," + one + "," + one + "]}";
  EXPECT_FALSE(parse_decoder(parse_json(json).value()).ok());
}

TEST(TokenDecoder, KnowsWhatATokenContributes) {
  const auto bytes = [](std::string_view json, std::string token) {
    return parse_decoder(parse_json(json).value()).value()->token_bytes(std::move(token));
  };
  EXPECT_EQ(bytes(kLlama, "▁a"), " a");
  EXPECT_EQ(bytes(kLlama, "<0xE2>"), "\xE2");
  EXPECT_EQ(bytes(R"({"type": "ByteLevel"})", "ðŁ"), "\xF0\x9F");
  EXPECT_EQ(bytes(R"({"type": "WordPiece"})", "##x"), "x");
}

}  // namespace
}  // namespace exo
