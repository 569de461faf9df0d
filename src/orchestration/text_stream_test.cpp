#include "orchestration/text_stream.h"

#include <gtest/gtest.h>

#include <deque>

namespace exo {
namespace {

using Item = TokenStream::Item;

constexpr TokenId kCallMark = 256;

// Ids are bytes; 0 is the end of a sequence, 256 a special token.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int id = 0; id < 256; ++id) {
      vocabulary_.bytes.push_back(id == 0 ? "<end>" : std::string(1, static_cast<char>(id)));
      vocabulary_.special.push_back(false);
    }
    vocabulary_.bytes.push_back("[TOOL_CALLS]");
    vocabulary_.special.push_back(true);
  }
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::vector<TokenId> encode_with_special(std::string_view text) const override {
    return encode(text, true);
  }
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += vocabulary_.bytes[static_cast<size_t>(id)];
    return text;
  }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int size() const override { return 257; }

 private:
  Vocabulary vocabulary_;
};

class ListStream final : public TokenStream {
 public:
  ListStream(std::deque<Item> items, bool& dropped) : items_(std::move(items)), dropped_(dropped) {}
  ~ListStream() override { dropped_ = true; }
  std::optional<Item> try_next() override {
    if (items_.empty()) return std::nullopt;
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }
  std::optional<Item> next(int) override { return try_next(); }
  void set_waker(std::function<void()>) override {}

 private:
  std::deque<Item> items_;
  bool& dropped_;
};

StartedGeneration started_with(const std::vector<TokenId>& ids, FinishReason finish,
                               bool& dropped) {
  std::deque<Item> items;
  for (size_t i = 0; i < ids.size(); ++i) {
    Item item;
    item.kind = Item::Kind::tokens;
    item.tokens.ids = {ids[i]};
    if (i + 1 == ids.size()) item.tokens.finish = finish;
    items.push_back(item);
  }
  StartedGeneration started;
  started.stream = std::make_unique<ListStream>(std::move(items), dropped);
  started.tokenizer = std::make_shared<ByteTokenizer>();
  started.prompt_tokens = 3;
  return started;
}

struct Read {
  std::string text;
  TextEvent last;
  bool dropped = false;  // before the TextStream was
};

Read read(std::string_view said, FinishReason finish, std::vector<std::string> stop) {
  bool dropped = false;
  TextStream stream(started_with(ByteTokenizer().encode(said, true), finish, dropped),
                    {std::move(stop), {}, false});
  Read read;
  while (auto event = stream.try_next()) {
    read.text += event->text;
    read.last = *event;
  }
  read.dropped = dropped;
  return read;
}

TEST(TextStream, TheEndOfSequenceIsCountedAndNotShown) {
  const Read read_ = read(std::string_view("Hi\0", 3), FinishReason::stop, {});
  EXPECT_EQ(read_.text, "Hi");
  EXPECT_EQ(read_.last.kind, TextEvent::Kind::done);
  EXPECT_EQ(read_.last.finish, FinishReason::stop);
  EXPECT_EQ(read_.last.usage.prompt_tokens, 3);
  EXPECT_EQ(read_.last.usage.completion_tokens, 3);
  EXPECT_EQ(read_.last.ids.back(), 0);
}

TEST(TextStream, AStopStringCutsAndCancels) {
  const Read read_ = read("one two three", FinishReason::length, {" tw"});
  EXPECT_EQ(read_.text, "one");
  EXPECT_EQ(read_.last.finish, FinishReason::stop);
  EXPECT_EQ(read_.last.usage.completion_tokens, 6);
  EXPECT_TRUE(read_.dropped);
}

TEST(TextStream, WhatWasHeldBackComesWithTheLast) {
  const Read read_ = read("ab\xC3", FinishReason::length, {"bx"});
  EXPECT_EQ(read_.text, "ab\xEF\xBF\xBD");
  EXPECT_EQ(read_.last.finish, FinishReason::length);
  EXPECT_FALSE(read_.dropped);
}

TEST(TextStream, ASpecialTokenThatMarksCallsIsSeenWhereToolsAre) {
  std::vector<TokenId> ids = ByteTokenizer().encode("Hi", true);
  ids.push_back(kCallMark);
  for (const TokenId id : ByteTokenizer().encode("f[ARGS]{} more", true)) ids.push_back(id);
  const JsonArray tools{JsonObject{{"type", "function"}, {"function", {{"name", "f"}}}}};
  for (const bool with_tools : {true, false}) {
    bool dropped = false;
    StartedGeneration started = started_with(ids, FinishReason::length, dropped);
    started.syntax.calls = {{"[TOOL_CALLS]", ""}};
    TextStream stream(std::move(started), {{}, with_tools ? tools : JsonArray(), with_tools});
    std::string text;
    std::vector<ToolCall> calls;
    while (auto event = stream.try_next()) {
      text += event->text;
      calls.insert(calls.end(), event->calls.begin(), event->calls.end());
    }
    EXPECT_EQ(text, with_tools ? "Hi" : "Hif[ARGS]{} more");
    EXPECT_EQ(calls.size(), with_tools ? 1u : 0u);
    EXPECT_EQ(dropped, with_tools);  // one call was enough
  }
}

TEST(TextStream, FailuresAndNoticesPassThrough) {
  bool dropped = false;
  StartedGeneration started;
  started.stream = std::make_unique<ListStream>(
      std::deque<Item>{{Item::Kind::notice, "loading", {}, {}},
                       {Item::Kind::failed, "", {}, unavailable("no memory")}},
      dropped);
  started.tokenizer = std::make_shared<ByteTokenizer>();
  TextStream stream(std::move(started), {});
  EXPECT_EQ(stream.try_next()->text, "loading");
  EXPECT_EQ(stream.try_next()->error.message, "no memory");
  EXPECT_FALSE(stream.try_next().has_value());
}

}  // namespace
}  // namespace exo
