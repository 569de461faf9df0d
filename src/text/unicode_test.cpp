#include "text/unicode.h"

#include <gtest/gtest.h>

#include <random>

#include "text/byte_alphabet.h"

namespace exo {
namespace {

TEST(Utf8, RepairsByMaximalParts) {
  EXPECT_EQ(repaired_utf8("a\xFF"), "a\uFFFD");
  EXPECT_EQ(repaired_utf8("\xF0\x9F\x98x"), "\uFFFDx");            // one for the broken beginning
  EXPECT_EQ(repaired_utf8("\xE0\x80\x80"), "\uFFFD\uFFFD\uFFFD");  // overlong
  EXPECT_EQ(repaired_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(repaired_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_EQ(repaired_utf8("\xC3"), "\uFFFD");
  EXPECT_TRUE(valid_utf8("é€😀"));
  EXPECT_FALSE(valid_utf8("\xC0\xAF"));
}

TEST(Utf8, RepairInPiecesIsTheSame) {
  std::mt19937 random(7);
  const std::string_view bytes = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\xFF\xF4\x90";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += bytes[random() % bytes.size()];
    Utf8Repair repair;
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 4;
      repair.push(std::string_view(text).substr(at, length), out);
      EXPECT_TRUE(valid_utf8(out));
      at += length;
    }
    repair.finish(out);
    ASSERT_EQ(out, repaired_utf8(text));
  }
}

TEST(Utf8, CharactersRoundTrip) {
  for (const char32_t c : {U'a', U'\u07FF', U'\u0800', U'\uFFFF', U'\U00010000', U'\U0010FFFF'}) {
    std::string text;
    append_char(text, c);
    size_t position = 0;
    EXPECT_EQ(next_char(text, position), c);
    EXPECT_EQ(position, text.size());
    EXPECT_EQ(previous_char_start(text, text.size()), 0u);
  }
}

TEST(NormalForms, ComposeAndDecompose) {
  EXPECT_EQ(to_normal_form("e\u0301", NormalForm::nfc), "é");
  EXPECT_EQ(to_normal_form("é", NormalForm::nfd), "e\u0301");
  EXPECT_EQ(to_normal_form("ﬁ①", NormalForm::nfkc), "fi1");
  EXPECT_EQ(to_normal_form("ﬁ①", NormalForm::nfc), "ﬁ①");
  EXPECT_EQ(to_normal_form("각", NormalForm::nfd), "\u1100\u1161\u11A8");
  EXPECT_EQ(to_normal_form("\u1100\u1161\u11A8", NormalForm::nfkc), "각");
  // Marks are ordered by class before they compose.
  EXPECT_EQ(to_normal_form("a\u0301\u0323", NormalForm::nfd), "a\u0323\u0301");
  EXPECT_EQ(to_normal_form("a\u0301\u0323", NormalForm::nfc), "ạ\u0301");
}

TEST(Classes, FollowTheProperties) {
  EXPECT_TRUE(is_white_space(U'\u3000'));
  EXPECT_FALSE(is_white_space(U'\u180E'));
  EXPECT_FALSE(is_white_space(U'\u200B'));
  EXPECT_TRUE(is_numeric(U'½'));
  EXPECT_TRUE(is_punctuation(U'$'));
  EXPECT_FALSE(is_punctuation(U'€'));
  EXPECT_TRUE(is_word(U'_') && is_word(U'\u0301') && is_word(U'字'));
  EXPECT_FALSE(is_word(U'-'));
}

TEST(ByteAlphabet, WritesEveryByte) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  const std::string text = to_byte_alphabet(bytes);
  EXPECT_TRUE(valid_utf8(text));
  EXPECT_EQ(from_byte_alphabet(text), bytes);
  EXPECT_EQ(to_byte_alphabet(" \n"), "ĠĊ");
  EXPECT_EQ(from_byte_alphabet("a b"), std::nullopt);
}

}  // namespace
}  // namespace exo
