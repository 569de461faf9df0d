#include "text/normalizer.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

std::string normalized(std::string_view json, std::string text) {
  const auto step = parse_normalizer(parse_json(json).value());
  EXPECT_TRUE(step.ok()) << json << ": " << step.error().message;
  return step.ok() ? (*step)->apply(std::move(text)) : "";
}

TEST(Normalizer, RewritesAsNamed) {
  EXPECT_EQ(normalized(R"({"type": "Lowercase"})", "ÀİΣ"), "ài\u0307σ");
  EXPECT_EQ(normalized(R"({"type": "Strip"})", "\u3000 a b\n"), "a b");
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_right": false})", " a "), "a ");
  EXPECT_EQ(normalized(R"({"type": "StripAccents"})", "e\u0301é"), "eé");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "▁"})", "a"), "▁a");
  EXPECT_EQ(normalized(R"({"type": "Prepend", "prepend": "▁"})", ""), "");
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", "ｱ"), "ア");
}

TEST(Normalizer, ReplacesStringsAndPatterns) {
  EXPECT_EQ(
      normalized(R"({"type": "Replace", "pattern": {"String": "."}, "content": "!"})", "a.b."),
      "a!b!");
  EXPECT_EQ(normalized(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"})",
                       "a   b c"),
            "a▁b c");
  EXPECT_EQ(normalized(R"({"type": "Replace", "pattern": {"String": ""}, "content": "x"})", "ab"),
            "ab");
}

TEST(Normalizer, RunsASequenceInOrder) {
  EXPECT_EQ(normalized(R"({"type": "Sequence", "normalizers": [
      {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})",
                       "CAFÉ"),
            "cafe");
}

TEST(Normalizer, Bert) {
  constexpr std::string_view kBert = R"({"type": "BertNormalizer"})";
  EXPECT_EQ(normalized(kBert, "É\tx\u200Dy\uFFFD"), "e xy");
  EXPECT_EQ(normalized(kBert, "a你b"), "a 你 b");
  EXPECT_EQ(normalized(R"({"type": "BertNormalizer", "lowercase": false})", "É"), "É");
  EXPECT_EQ(normalized(R"({"type": "BertNormalizer", "strip_accents": false})", "É"), "é");
}

TEST(Normalizer, DoesNotLetAFileFillTheMemory) {
  std::string steps;
  for (int i = 0; i < 60; ++i)
    steps += std::string(i == 0 ? "" : ", ") +
             R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"})";
  const std::string json = R"({"type": "Sequence", "normalizers": [)" + steps + "]}";
  EXPECT_LT(normalized(json, "aaaaaaaa").size(), 100'000u);
}

TEST(Normalizer, RefusesWhatItCannotDo) {
  EXPECT_FALSE(parse_normalizer(parse_json(R"({"type": "Wish"})").value()).ok());
  std::string deep = R"({"type": "NFC"})";
  for (int i = 0; i < 12; ++i) deep = R"({"type": "Sequence", "normalizers": [)" + deep + "]}";
  EXPECT_FALSE(parse_normalizer(parse_json(deep).value()).ok());
}

}  // namespace
}  // namespace exo
