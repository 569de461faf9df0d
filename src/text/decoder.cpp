#include "text/decoder.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "text/byte_alphabet.h"
#include "text/json_parts.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace exo {
namespace {

using Made = Result<std::unique_ptr<const TokenDecoder>>;
using SinkPtr = std::unique_ptr<DecodeSink>;

class Step : public DecodeSink {
 public:
  explicit Step(SinkPtr next) : next_(std::move(next)) {}
  void text(std::string_view part) override { next_->text(part); }
  void end_token() override { next_->end_token(); }
  void finish() override { next_->finish(); }

 protected:
  void emit(std::string_view token) {
    next_->text(token);
    next_->end_token();
  }
  SinkPtr next_;
};

// A step that needs the whole token before it can say anything.
class TokenStep : public Step {
 public:
  using Step::Step;
  void text(std::string_view part) final { token_ += part; }
  void end_token() final {
    std::string token;
    token.swap(token_);
    whole_token(std::move(token));
  }

 protected:
  virtual void whole_token(std::string token) = 0;

 private:
  std::string token_;
};

class JoinDecoder final : public TokenDecoder {
 public:
  SinkPtr make_step(SinkPtr next) const override {
    struct Join final : Step {
      using Step::Step;
      void text(std::string_view part) override {
        open();
        next_->text(part);
      }
      void end_token() override {
        open();
        between_ = true;
        inside_ = false;
      }
      void open() {
        if (between_ && !inside_) next_->text(" ");
        inside_ = true;
      }
      bool between_ = false, inside_ = false;
    };
    return std::make_unique<Join>(std::move(next));
  }
  std::string token_bytes(std::string token) const override { return " " + token; }
};

class ByteLevelDecoder final : public TokenDecoder {
 public:
  static std::string bytes_of(std::string token) {
    auto bytes = from_byte_alphabet(token);
    return bytes ? std::move(*bytes) : token;
  }
  SinkPtr make_step(SinkPtr next) const override {
    struct ByteLevel final : TokenStep {
      using TokenStep::TokenStep;
      void whole_token(std::string token) override {
        std::string out;
        repair_.push(bytes_of(std::move(token)), out);
        next_->text(out);
      }
      void finish() override {
        std::string out;
        repair_.finish(out);
        emit(out);
        next_->finish();
      }
      Utf8Repair repair_;
    };
    return std::make_unique<ByteLevel>(std::move(next));
  }
  std::string token_bytes(std::string token) const override { return bytes_of(std::move(token)); }
};

class ByteFallbackDecoder final : public TokenDecoder {
 public:
  // "<0x1F>" -> 0x1F
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return {};
    unsigned value = 0;
    const char* end = token.data() + 5;
    const auto parsed = std::from_chars(token.data() + 3, end, value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != end) return {};
    return static_cast<char>(value);
  }
  SinkPtr make_step(SinkPtr next) const override {
    // A run of byte tokens is text only if all of it is valid UTF-8, else every byte of it becomes
    // U+FFFD: the run's text is not certain before it ends.
    struct ByteFallback final : TokenStep {
      using TokenStep::TokenStep;
      void whole_token(std::string token) override {
        if (const auto byte = byte_of(token)) {
          run_.push_back(*byte);
        } else {
          flush();
          emit(token);
        }
      }
      void finish() override {
        flush();
        next_->finish();
      }
      void flush() {
        if (run_.empty()) return;
        if (valid_utf8(run_)) {
          emit(run_);
        } else {
          for (size_t i = 0; i < run_.size(); ++i) emit("\xEF\xBF\xBD");
        }
        run_.clear();
      }
      std::string run_;
    };
    return std::make_unique<ByteFallback>(std::move(next));
  }
  std::string token_bytes(std::string token) const override {
    const auto byte = byte_of(token);
    return byte ? std::string(1, *byte) : token;
  }
};

class ReplaceDecoder final : public TokenDecoder {
 public:
  ReplaceDecoder(TextPattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  SinkPtr make_step(SinkPtr next) const override {
    struct Replace final : TokenStep {
      Replace(SinkPtr next, const ReplaceDecoder& owner)
          : TokenStep(std::move(next)), owner_(owner) {}
      void whole_token(std::string token) override {
        emit(owner_.pattern_.replace_all(token, owner_.content_));
      }
      const ReplaceDecoder& owner_;
    };
    return std::make_unique<Replace>(std::move(next), *this);
  }
  std::string token_bytes(std::string token) const override {
    return pattern_.replace_all(token, content_);
  }

 private:
  TextPattern pattern_;
  std::string content_;
};

class FuseDecoder final : public TokenDecoder {
 public:
  SinkPtr make_step(SinkPtr next) const override {
    struct Fuse final : Step {
      using Step::Step;
      void end_token() override {}
      void finish() override {
        next_->end_token();
        next_->finish();
      }
    };
    return std::make_unique<Fuse>(std::move(next));
  }
  std::string token_bytes(std::string token) const override { return token; }
};

// Removes up to `start` leading and `stop` trailing characters `content` of each token.
class StripStep final : public Step {
 public:
  StripStep(SinkPtr next, std::string content, int64_t start, int64_t stop)
      : Step(std::move(next)), content_(std::move(content)), start_(start), stop_(stop) {}

  void text(std::string_view part) override {
    while (leading_ < start_ && part.starts_with(content_)) {
      part.remove_prefix(content_.size());
      ++leading_;
    }
    if (part.empty()) return;
    leading_ = start_;
    size_t end = part.size();
    int64_t trailing = 0;
    while (stop_ > 0 && part.substr(0, end).ends_with(content_)) {
      end -= content_.size();
      ++trailing;
    }
    if (end > 0) {
      release(held_);
      next_->text(part.substr(0, end));
    }
    held_ += trailing;
    release(held_ - stop_);
  }
  void end_token() override {
    held_ = 0;
    leading_ = 0;
    next_->end_token();
  }

 private:
  void release(int64_t count) {
    for (; count > 0; --count, --held_) next_->text(content_);
  }

  std::string content_;
  int64_t start_, stop_;
  int64_t leading_ = 0;  // removed from this token's beginning; start_ once it is behind
  int64_t held_ = 0;     // characters `content` that may turn out to be trailing
};

class StripDecoder final : public TokenDecoder {
 public:
  StripDecoder(char32_t content, int64_t start, int64_t stop) : start_(start), stop_(stop) {
    append_char(content_, content);
  }
  SinkPtr make_step(SinkPtr next) const override {
    return std::make_unique<StripStep>(std::move(next), content_, start_, stop_);
  }
  std::string token_bytes(std::string token) const override { return token; }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class MetaspaceDecoder final : public TokenDecoder {
 public:
  MetaspaceDecoder(char32_t mark, bool drop_first) : mark_(mark), drop_first_(drop_first) {}
  static std::string replaced(std::string_view text, char32_t mark, std::string_view by) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const char32_t c = next_char(text, i);
      if (c == mark) {
        out += by;
      } else {
        append_char(out, c);
      }
    }
    return out;
  }
  SinkPtr make_step(SinkPtr next) const override {
    struct Metaspace final : Step {
      Metaspace(SinkPtr next, char32_t mark, bool drop)
          : Step(std::move(next)), mark_(mark), drop_(drop) {}
      void text(std::string_view part) override {
        next_->text(replaced(part, mark_, drop_ ? "" : " "));
      }
      void end_token() override {
        drop_ = false;
        next_->end_token();
      }
      char32_t mark_;
      bool drop_;  // in the first token
    };
    return std::make_unique<Metaspace>(std::move(next), mark_, drop_first_);
  }
  std::string token_bytes(std::string token) const override { return replaced(token, mark_, " "); }

 private:
  char32_t mark_;
  bool drop_first_;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  if (from.empty()) return text;
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(text, done, at - done);
    out += to;
  }
  return out.append(text, done);
}

// English spacing as BERT's decoder repairs it, within one token.
std::string clean_up(std::string text) {
  constexpr std::string_view kRules[][2] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& rule : kRules) text = replaced(std::move(text), rule[0], rule[1]);
  return text;
}

class WordPieceDecoder final : public TokenDecoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  SinkPtr make_step(SinkPtr next) const override {
    struct WordPiece final : TokenStep {
      WordPiece(SinkPtr next, const WordPieceDecoder& owner)
          : TokenStep(std::move(next)), owner_(owner) {}
      void whole_token(std::string token) override {
        if (!first_) token = owner_.joined(std::move(token));
        first_ = false;
        emit(owner_.cleanup_ ? clean_up(std::move(token)) : token);
      }
      const WordPieceDecoder& owner_;
      bool first_ = true;
    };
    return std::make_unique<WordPiece>(std::move(next), *this);
  }
  std::string token_bytes(std::string token) const override {
    token = joined(std::move(token));
    return cleanup_ ? clean_up(std::move(token)) : token;
  }

 private:
  std::string joined(std::string token) const {
    return token.starts_with(prefix_) ? token.substr(prefix_.size()) : " " + token;
  }
  std::string prefix_;
  bool cleanup_;
};

// "BPEDecoder": the suffix that ends a word is a space, except in the last token.
class SuffixDecoder final : public TokenDecoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  SinkPtr make_step(SinkPtr next) const override {
    struct Suffix final : TokenStep {
      Suffix(SinkPtr next, const SuffixDecoder& owner)
          : TokenStep(std::move(next)), owner_(owner) {}
      void whole_token(std::string token) override {
        release(" ");
        held_ = std::move(token);
      }
      void finish() override {
        release("");
        next_->finish();
      }
      void release(std::string_view by) {
        if (held_) emit(replaced(std::move(*held_), owner_.suffix_, by));
        held_.reset();
      }
      const SuffixDecoder& owner_;
      std::optional<std::string> held_;
    };
    return std::make_unique<Suffix>(std::move(next), *this);
  }
  std::string token_bytes(std::string token) const override {
    return replaced(std::move(token), suffix_, " ");
  }

 private:
  std::string suffix_;
};

class SequenceDecoder final : public TokenDecoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<const TokenDecoder>> steps)
      : steps_(std::move(steps)) {}
  SinkPtr make_step(SinkPtr next) const override {
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step)
      next = (*step)->make_step(std::move(next));
    return next;
  }
  std::string token_bytes(std::string token) const override {
    for (const auto& step : steps_) token = step->token_bytes(std::move(token));
    return token;
  }

 private:
  std::vector<std::unique_ptr<const TokenDecoder>> steps_;
};

template <class T, class... Arguments>
Made make(Arguments&&... arguments) {
  return std::unique_ptr<const TokenDecoder>(
      std::make_unique<T>(std::forward<Arguments>(arguments)...));
}

using Steps = std::vector<std::unique_ptr<const TokenDecoder>>;

// Only replacements lengthen a text much; published decoders have one or two.
constexpr int kMaxReplacements = 3;

Result<void> collect_steps(const JsonObject& sequence, int depth, Steps& steps, int& replacements) {
  for (const Json& item : *TRY(read_part_list(sequence, "decoders", depth))) {
    if (item.is_null()) continue;
    const JsonPart part = TRY(read_part(item, "decoder"));
    if (part.type == "Replace") ++replacements;
    if (part.type == "Sequence") {
      TRY(collect_steps(*part.object, depth + 1, steps, replacements));
    } else {
      steps.push_back(TRY(parse_decoder(item)));
    }
    if (steps.size() > kMaxParts || replacements > kMaxReplacements) {
      return unsupported(
          fmt::format("more than {} decoders or {} replacements", kMaxParts, kMaxReplacements));
    }
  }
  return {};
}

Made parse_sequence(const JsonObject& object) {
  Steps steps;
  int replacements = 0;
  TRY(collect_steps(object, 0, steps, replacements));
  return make<SequenceDecoder>(std::move(steps));
}

Made parse_strip(const JsonObject& object) {
  const char32_t content = TRY(char_or(object, "content", U' '));
  const int64_t start = TRY(get_int(object, "start")).value_or(0);
  const int64_t stop = TRY(get_int(object, "stop")).value_or(0);
  constexpr int64_t kMaxStripped = 1'000'000;
  return make<StripDecoder>(content, std::clamp<int64_t>(start, 0, kMaxStripped),
                            std::clamp<int64_t>(stop, 0, kMaxStripped));
}

Made parse_metaspace(const JsonObject& object) {
  const char32_t mark = TRY(char_or(object, "replacement", U'\u2581'));
  const bool prepends = TRY(bool_or(object, "add_prefix_space", true)) &&
                        TRY(string_or(object, "prepend_scheme", "always")) != "never";
  return make<MetaspaceDecoder>(mark, prepends);
}

class OutputSink final : public DecodeSink {
 public:
  explicit OutputSink(std::string& out) : out_(out) {}
  void text(std::string_view part) override { out_ += part; }
  void end_token() override {}
  void finish() override {}

 private:
  std::string& out_;
};

}  // namespace

Result<std::unique_ptr<const TokenDecoder>> parse_decoder(const Json& value) {
  if (value.is_null()) return make<JoinDecoder>();
  const JsonPart part = TRY(read_part(value, "decoder"));
  const JsonObject& object = *part.object;
  if (part.type == "Sequence") return parse_sequence(object);
  if (part.type == "ByteLevel") return make<ByteLevelDecoder>();
  if (part.type == "ByteFallback") return make<ByteFallbackDecoder>();
  if (part.type == "Fuse") return make<FuseDecoder>();
  if (part.type == "Strip") return parse_strip(object);
  if (part.type == "Metaspace") return parse_metaspace(object);
  if (part.type == "Replace") {
    auto pattern = TRY(TextPattern::make(TRY(read_pattern(object))));
    return make<ReplaceDecoder>(std::move(pattern), TRY(required_string(object, "content")));
  }
  if (part.type == "WordPiece") {
    auto prefix = TRY(string_or(object, "prefix", "##"));
    return make<WordPieceDecoder>(std::move(prefix), TRY(bool_or(object, "cleanup", true)));
  }
  if (part.type == "BPEDecoder")
    return make<SuffixDecoder>(TRY(string_or(object, "suffix", "</w>")));
  return unsupported(fmt::format("decoder '{}' is not known", part.type));
}

DecodeChain::DecodeChain(const TokenDecoder& decoder)
    : output_(std::make_unique<std::string>()),
      first_(decoder.make_step(std::make_unique<OutputSink>(*output_))) {}

std::string DecodeChain::push(std::string_view token) {
  first_->text(token);
  first_->end_token();
  return std::exchange(*output_, std::string());
}

std::string DecodeChain::finish() {
  first_->finish();
  return std::exchange(*output_, std::string());
}

}  // namespace exo
