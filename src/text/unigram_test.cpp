#include "text/unigram.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "text/precompiled.h"

namespace exo {
namespace {

std::vector<TokenId> encoded(std::string_view json, std::string_view text) {
  const auto model = parse_unigram(parse_json(json).value().as_object());
  EXPECT_TRUE(model.ok()) << model.error().message;
  std::vector<TokenId> ids;
  if (model.ok()) (*model)->encode(text, ids);
  return ids;
}
using Ids = std::vector<TokenId>;

TEST(Unigram, TakesTheBestSum) {
  constexpr std::string_view kJson = R"({"unk_id": 0, "vocab": [["<unk>", 0], ["a", 0], ["b", 0],
      ["c", 0], ["d", 0], ["cd", 1], ["ab", 2], ["abc", 5], ["abcd", 10]]})";
  EXPECT_EQ(encoded(kJson, "abcd"), (Ids{8}));
  EXPECT_EQ(encoded(kJson, "abcc"), (Ids{7, 3}));
  EXPECT_EQ(encoded(kJson, "abcdacdxx"), (Ids{8, 1, 5, 0}));  // a run of unknowns is one
  EXPECT_EQ(encoded(kJson, "xéax"), (Ids{0, 1, 0}));
  EXPECT_EQ(encoded(kJson, ""), Ids{});
}

TEST(Unigram, PrefersOneGoodTokenToTwoBadOnes) {
  EXPECT_EQ(encoded(R"({"vocab": [["a", -1], ["b", -1], ["ab", -3]]})", "ab"), (Ids{0, 1}));
  EXPECT_EQ(encoded(R"({"vocab": [["a", -1], ["b", -1], ["ab", -1.5]]})", "ab"), (Ids{2}));
}

TEST(Unigram, FallsBackToBytes) {
  constexpr std::string_view kJson = R"({"unk_id": 0, "byte_fallback": true,
      "vocab": [["<unk>", 0], ["a", -1], ["<0xC3>", -5], ["<0xA9>", -5]]})";
  EXPECT_EQ(encoded(kJson, "aé"), (Ids{1, 2, 3}));
  EXPECT_EQ(encoded(kJson, "aü"), (Ids{1, 0}));
}

TEST(Unigram, RefusesWhatDoesNotFit) {
  const auto fails = [](std::string_view json) {
    return !parse_unigram(parse_json(json).value().as_object()).ok();
  };
  EXPECT_TRUE(fails(R"({"vocab": [["a"]]})"));
  EXPECT_TRUE(fails(R"({"vocab": [["a", "b"]]})"));
  EXPECT_TRUE(fails(R"({"unk_id": 1, "vocab": [["a", 0]]})"));
  EXPECT_TRUE(fails("{}"));
}

// A double array with the single entry "A" -> `value`, and what the values point at.
std::string charsmap(uint32_t value, std::string_view replacements) {
  std::vector<uint32_t> units(66, 0);
  units[0] = 1u << 10;                    // offset 1: the child of byte c is at 1 ^ c
  units[64] = 0x41 | 1u << 8 | 1u << 10;  // label 'A', has a leaf, at 64 ^ 1
  units[65] = 1u << 31 | value;
  std::string bytes;
  const auto append = [&](uint32_t number) {
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<char>(number >> shift & 0xFF));
  };
  append(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) append(unit);
  return to_base64(bytes + std::string(replacements));
}

TEST(PrecompiledCharsmap, ReplacesWhatItLists) {
  using namespace std::string_view_literals;
  const auto map = PrecompiledCharsmap::parse(charsmap(2, "x\0yz\0"sv));
  ASSERT_TRUE(map.ok()) << map.error().message;
  EXPECT_EQ(map->apply("aAbA"), "ayzbyz");
  EXPECT_EQ(map->apply("A\u0301"), "yz");  // the whole grapheme begins with the entry
  EXPECT_EQ(PrecompiledCharsmap::parse("")->apply("A"), "A");
}

TEST(PrecompiledCharsmap, SurvivesBrokenTables) {
  EXPECT_FALSE(PrecompiledCharsmap::parse("!").ok());
  EXPECT_FALSE(PrecompiledCharsmap::parse("AAA").ok());
  EXPECT_FALSE(PrecompiledCharsmap::parse("////////").ok());
  const auto outside = PrecompiledCharsmap::parse(charsmap(1000, "x"));
  ASSERT_TRUE(outside.ok());
  EXPECT_EQ(outside->apply("A"), "A");
}

}  // namespace
}  // namespace exo
