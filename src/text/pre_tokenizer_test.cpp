#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

using Pieces = std::vector<std::string>;

Pieces pieces(std::string_view json, std::string text, bool at_start = true) {
  const auto step = parse_pre_tokenizer(parse_json(json).value());
  EXPECT_TRUE(step.ok()) << json << ": " << step.error().message;
  if (!step.ok()) return {};
  PieceList list;
  list.text = std::move(text);
  list.pieces = {{0, list.text.size()}};
  list.at_start = at_start;
  (*step)->apply(list);
  Pieces out;
  for (const TextRange& piece : list.pieces)
    out.push_back(list.text.substr(piece.begin, piece.end - piece.begin));
  return out;
}

Pieces split(std::string_view behavior, std::string text, bool invert = false) {
  std::string json = R"({"type": "Split", "pattern": {"String": "-"}, "behavior": ")";
  json += std::string(behavior) + R"(", "invert": )" + (invert ? "true}" : "false}");
  return pieces(json, std::move(text));
}

TEST(Split, CutsInFiveWays) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(split("Removed", text), (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(split("Isolated", text), (Pieces{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split("MergedWithPrevious", text), (Pieces{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split("MergedWithNext", text), (Pieces{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split("Contiguous", text), (Pieces{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split("Removed", text, true), (Pieces{"-", "-", "-"}));
  EXPECT_EQ(split("Removed", "--"), Pieces{});
  EXPECT_EQ(split("MergedWithNext", "a-"), (Pieces{"a", "-"}));
}

TEST(ByteLevel, PrefixAndPattern) {
  EXPECT_EQ(pieces(R"({"type": "ByteLevel", "add_prefix_space": true})", "Hi it's  é"),
            (Pieces{"ĠHi", "Ġit", "'s", "Ġ", "ĠÃ©"}));
  EXPECT_EQ(
      pieces(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})", "a b"),
      (Pieces{"aĠb"}));
}

TEST(Metaspace, PrependsBySchemeAndSplits) {
  const auto with = [](std::string_view rest, std::string text, bool at_start = true) {
    return pieces(R"({"type": "Metaspace", "replacement": "▁")" + std::string(rest) + "}",
                  std::move(text), at_start);
  };
  EXPECT_EQ(with("", "Hey you"), (Pieces{"▁Hey", "▁you"}));
  EXPECT_EQ(with(R"(, "split": false)", "Hey you"), (Pieces{"▁Hey▁you"}));
  EXPECT_EQ(with(R"(, "prepend_scheme": "never")", "Hey you"), (Pieces{"Hey", "▁you"}));
  EXPECT_EQ(with(R"(, "prepend_scheme": "first")", "Hey", false), (Pieces{"Hey"}));
  EXPECT_EQ(with(R"(, "prepend_scheme": "first")", "Hey"), (Pieces{"▁Hey"}));
  EXPECT_EQ(with(R"(, "add_prefix_space": false)", "Hey"), (Pieces{"Hey"}));
  EXPECT_EQ(with("", " Hey"), (Pieces{"▁Hey"}));
}

TEST(Metaspace, FirstMeansTheFirstPieceOfTheInput) {
  constexpr std::string_view kJson = R"({"type": "Sequence", "pretokenizers": [
      {"type": "WhitespaceSplit"},
      {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}]})";
  EXPECT_EQ(pieces(kJson, "a b"), (Pieces{"▁a", "b"}));
  EXPECT_EQ(pieces(kJson, " a b"), (Pieces{"a", "b"}));
}

TEST(Classes, SplitAsNamed) {
  EXPECT_EQ(pieces(R"({"type": "Digits", "individual_digits": true})", "a12½"),
            (Pieces{"a", "1", "2", "½"}));
  EXPECT_EQ(pieces(R"({"type": "Digits"})", "a12b"), (Pieces{"a", "12", "b"}));
  EXPECT_EQ(pieces(R"({"type": "Punctuation"})", "a,b!!"), (Pieces{"a", ",", "b", "!", "!"}));
  EXPECT_EQ(pieces(R"({"type": "Whitespace"})", "Hey man, 你-x "),
            (Pieces{"Hey", "man", ",", "你", "-", "x"}));
  EXPECT_EQ(pieces(R"({"type": "WhitespaceSplit"})", " Hey, man "), (Pieces{"Hey,", "man"}));
  EXPECT_EQ(pieces(R"({"type": "BertPreTokenizer"})", "Hey, man"), (Pieces{"Hey", ",", "man"}));
}

TEST(PreTokenizer, NamesWhatItDoesNotKnow) {
  const auto unknown = parse_pre_tokenizer(parse_json(R"({"type": "Telepathy"})").value());
  EXPECT_EQ(unknown.error().code, ErrorCode::unsupported);
  EXPECT_NE(unknown.error().message.find("Telepathy"), std::string::npos);
  EXPECT_FALSE(parse_pre_tokenizer(parse_json(R"({"type": "Split"})").value()).ok());
  EXPECT_FALSE(parse_pre_tokenizer(parse_json("[]").value()).ok());
}

}  // namespace
}  // namespace exo
