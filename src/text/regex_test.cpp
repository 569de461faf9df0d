#include "text/regex.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << pattern << ": " << regex.error().message;
  std::vector<std::string> found;
  if (!regex.ok()) return found;
  RegexMatcher matcher(**regex);
  matcher.reset(text);
  for (TextRange match; matcher.next(match);)
    found.emplace_back(text.substr(match.begin, match.end - match.begin));
  return found;
}
using Found = std::vector<std::string>;

TEST(Regex, FindsEveryMatch) {
  EXPECT_EQ(matches(R"(\p{N}{1,3})", "12345 6"), (Found{"123", "45", "6"}));
  EXPECT_EQ(matches("(?i:'s)", "'S's"), (Found{"'S", "'s"}));
  EXPECT_EQ(matches("x*", "axa"), (Found{"", "x", ""}));
  EXPECT_EQ(matches("", "é"), (Found{"", ""}));
}

TEST(Regex, LinesAndSpacesAreOnigurumas) {
  EXPECT_EQ(matches(R"(\s+$)", "a  \n b \t"), (Found{"  ", " \t"}));
  EXPECT_EQ(matches(R"(\s+$)", "a \n\n"), (Found{" \n\n"}));
  EXPECT_EQ(matches(R"(\s+$)", " \n a"), (Found{" "}));
  EXPECT_EQ(matches("^.", "a\nb"), (Found{"a", "b"}));
  EXPECT_EQ(matches("(?m:a.b)", "a\nb"), (Found{"a\nb"}));
  EXPECT_EQ(matches("a.b", "a\nb"), Found{});
  EXPECT_EQ(matches(R"(\s)", "\u180E\u2003"), (Found{"\u2003"}));
  EXPECT_EQ(matches(R"([^\s]+)", "\u180E\u2003"), (Found{"\u180E"}));
}

TEST(Regex, WhatIsSpeltOtherwise) {
  EXPECT_EQ(matches(R"(\h+)", "xfFz"), (Found{"fF"}));
  EXPECT_EQ(matches(R"(\u0041+)", "AA"), (Found{"AA"}));
  EXPECT_EQ(matches("a{,2}b", "aab"), (Found{"aab"}));
  EXPECT_EQ(matches("(?:ab){2}+c", "ababababc"), (Found{"ababababc"}));
  EXPECT_EQ(matches(R"([\p{L}&&[^\p{Han}]]+)", "ab字cd"), (Found{"ab", "cd"}));
  EXPECT_EQ(matches("[a-c[x-z]]+", "abzq"), (Found{"abz"}));
  EXPECT_EQ(matches("[^a[b]]+", "abcd"), (Found{"cd"}));
  EXPECT_EQ(matches(R"([^\S\n]+)", "a \t\nb"), (Found{" \t"}));
  EXPECT_EQ(matches(R"([\w-]+)", "e\u0301-f g"), (Found{"e\u0301-f", "g"}));
  EXPECT_EQ(matches(R"([]a]+)", "]a["), (Found{"]a"}));
  EXPECT_EQ(matches(R"([\[\]]+)", "[]"), (Found{"[]"}));
  EXPECT_EQ(matches("[[:alpha:]]+", "ab1"), (Found{"ab"}));
}

TEST(Regex, SaysWhatIsWrong) {
  const auto broken = Regex::compile("(a");
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("(a"), std::string::npos);
  EXPECT_FALSE(Regex::compile("[a").ok());
  EXPECT_FALSE(Regex::compile(R"(\p{NoSuchScript})").ok());
  EXPECT_FALSE(Regex::compile(std::string(100'000, 'a')).ok());
  EXPECT_FALSE(Regex::compile(std::string(10'000, '(')).ok());
}

TEST(Regex, HostilePatternsEnd) {
  const std::string text(5000, 'a');
  EXPECT_TRUE(matches("(a|a)*(a|a)*(a|a)*[bc]", text).empty());
  EXPECT_TRUE(matches("(a+)+[bc]", text).empty());
  matches("((((a?)*)*)*)*", text);
  matches("(?R)?a", text);
}

}  // namespace
}  // namespace exo
