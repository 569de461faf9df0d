#include "text/output_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace exo {
namespace {

struct Seen {
  std::string content;
  bool stopped = false;
};

Seen run(const std::vector<std::string>& stops, const std::vector<std::string>& parts) {
  OutputParser parser({{}, "", {}, stops});
  Seen seen;
  for (const std::string& part : parts) {
    const auto delta = parser.push(part);
    EXPECT_FALSE(seen.stopped && !delta.content.empty());
    seen.content += delta.content;
    seen.stopped |= delta.stopped;
  }
  const auto rest = parser.finish();
  seen.content += rest.content;
  seen.stopped |= rest.stopped;
  return seen;
}

TEST(OutputParser, CutsAtAStopStringAcrossTokens) {
  const Seen seen = run({"\nUser:"}, {"Hi", "\n", "Us", "er", ": more"});
  EXPECT_EQ(seen.content, "Hi");
  EXPECT_TRUE(seen.stopped);
}

TEST(OutputParser, HoldsBackOnlyWhatMayBeginAStop) {
  OutputParser parser({{}, "", {}, {"END"}});
  EXPECT_EQ(parser.push("an E").content, "an ");
  EXPECT_EQ(parser.push("N").content, "");
  EXPECT_EQ(parser.push("E").content, "EN");  // the new E may begin one
  EXPECT_EQ(parser.finish().content, "E");
}

TEST(OutputParser, StopsThatOverlapThemselves) {
  EXPECT_EQ(run({"aab"}, {"a", "a", "a", "b", "x"}).content, "a");
  EXPECT_EQ(run({"abab", "b"}, {"abab"}).content, "a");  // the first that is complete
  EXPECT_EQ(run({"b", "ab"}, {"xab"}).content, "x");     // of two at once the longer
}

TEST(OutputParser, WithoutStopsNothingIsHeld) {
  OutputParser parser({{}, "", {}, {""}});
  EXPECT_EQ(parser.push("text").content, "text");
  EXPECT_FALSE(parser.finish().stopped);
}

TEST(OutputParser, NothingFollowsAStop) {
  OutputParser parser({{}, "", {}, {"."}});
  EXPECT_TRUE(parser.push("a.b").stopped);
  EXPECT_EQ(parser.push("c").content, "");
  EXPECT_EQ(parser.finish().content, "");
}

// What the text says, read byte by byte without any cleverness.
Seen expected(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops)
      if (std::string_view(text).substr(0, end).ends_with(stop))
        longest = std::max(longest, stop.size());
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(OutputParser, DoesNotDependOnHowTheTextIsSplit) {
  std::mt19937 random(2026);
  const auto letters = [&](size_t max) {
    std::string text(random() % (max + 1), 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back("a" + letters(4));
    const std::string text = letters(24);
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 5;
      parts.push_back(text.substr(at, length));
      at += length;
    }
    const Seen want = expected(stops, text);
    const Seen got = run(stops, parts);
    ASSERT_EQ(got.content, want.content) << text;
    ASSERT_EQ(got.stopped, want.stopped) << text;
  }
}

}  // namespace
}  // namespace exo
