#include "text/pre_tokenizer.h"

#include <fmt/core.h>

#include <optional>

#include "text/byte_alphabet.h"
#include "text/json_parts.h"
#include "text/pattern.h"
#include "text/split.h"
#include "text/unicode.h"

namespace exo {
namespace {

using Made = Result<std::unique_ptr<const PreTokenizer>>;

std::string_view slice(std::string_view text, TextRange range) {
  return text.substr(range.begin, range.end - range.begin);
}

// Cuts every piece with `find(piece, spans)`.
template <class Find>
void split_pieces(PieceList& list, SplitBehavior behavior, Find find) {
  std::vector<TextRange> pieces;
  pieces.reserve(list.pieces.size());
  std::vector<SplitSpan> spans;
  for (const TextRange& piece : list.pieces) {
    spans.clear();
    find(slice(list.text, piece), spans);
    for (SplitSpan& span : spans) {
      span.range.begin += piece.begin;
      span.range.end += piece.begin;
    }
    append_pieces(spans, behavior, pieces);
  }
  list.pieces = std::move(pieces);
}

// Rewrites every piece with `rewrite(piece text, whether it begins the whole input)`.
template <class Rewrite>
void rewrite_pieces(PieceList& list, Rewrite rewrite) {
  std::string text;
  text.reserve(list.text.size() + list.text.size() / 2);
  const bool starts = list.at_start && !list.pieces.empty() && list.pieces.front().begin == 0;
  for (TextRange& piece : list.pieces) {
    const size_t begin = text.size();
    text += rewrite(slice(list.text, piece), starts && piece.begin == 0);
    piece = {begin, text.size()};
  }
  list.text = std::move(text);
  list.at_start = starts;  // not where the first piece was cut away
}

void find_pattern(TextPattern::Scanner& scanner, std::string_view text, bool invert,
                  std::vector<SplitSpan>& spans) {
  scanner.reset(text);
  size_t done = 0;
  for (TextRange match; scanner.next(match); done = match.end) {
    if (match.begin > done) spans.push_back({{done, match.begin}, invert});
    spans.push_back({match, !invert});
  }
  if (done < text.size()) spans.push_back({{done, text.size()}, invert});
}

template <class IsDelimiter>
void find_chars(std::string_view text, IsDelimiter is_delimiter, std::vector<SplitSpan>& spans) {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (!is_delimiter(next_char(text, i))) continue;
    if (begin > done) spans.push_back({{done, begin}, false});
    spans.push_back({{begin, i}, true});
    done = i;
  }
  if (done < text.size()) spans.push_back({{done, text.size()}, false});
}

template <class IsDelimiter>
void split_at_chars(PieceList& list, SplitBehavior behavior, IsDelimiter is_delimiter) {
  split_pieces(list, behavior, [&](std::string_view text, std::vector<SplitSpan>& spans) {
    find_chars(text, is_delimiter, spans);
  });
}

template <class Function>
class FunctionPreTokenizer final : public PreTokenizer {
 public:
  explicit FunctionPreTokenizer(Function function) : function_(std::move(function)) {}
  void apply(PieceList& list) const override { function_(list); }

 private:
  Function function_;
};

template <class Function>
Made from_function(Function function) {
  return std::unique_ptr<const PreTokenizer>(
      std::make_unique<FunctionPreTokenizer<Function>>(std::move(function)));
}

void split_by_pattern(PieceList& list, const TextPattern& pattern, SplitBehavior behavior,
                      bool invert) {
  TextPattern::Scanner scanner(pattern);
  split_pieces(list, behavior, [&](std::string_view text, std::vector<SplitSpan>& spans) {
    find_pattern(scanner, text, invert, spans);
  });
}

Made pattern_split(PatternText text, SplitBehavior behavior, bool invert) {
  auto pattern = TRY(TextPattern::make(std::move(text)));
  return from_function([pattern = std::move(pattern), behavior, invert](PieceList& list) {
    split_by_pattern(list, pattern, behavior, invert);
  });
}

Made parse_split(const JsonObject& object) {
  auto behavior = TRY(parse_split_behavior(TRY(required_string(object, "behavior"))));
  const bool invert = TRY(bool_or(object, "invert", false));
  return pattern_split(TRY(read_pattern(object)), behavior, invert);
}

Made parse_byte_level(const JsonObject& object) {
  const bool add_prefix_space = TRY(bool_or(object, "add_prefix_space", true));
  std::optional<TextPattern> pattern;
  if (TRY(bool_or(object, "use_regex", true)))
    pattern = TRY(TextPattern::make({std::string(kGpt2Pattern), true}));
  return from_function([add_prefix_space, pattern = std::move(pattern)](PieceList& list) {
    if (add_prefix_space) {
      rewrite_pieces(list, [](std::string_view text, bool) {
        return text.starts_with(' ') ? std::string(text) : " " + std::string(text);
      });
    }
    if (pattern) split_by_pattern(list, *pattern, SplitBehavior::isolated, false);
    rewrite_pieces(list, [](std::string_view text, bool) { return to_byte_alphabet(text); });
  });
}

enum class PrependScheme { first, never, always };

Result<PrependScheme> read_prepend_scheme(const JsonObject& object) {
  const std::string name = TRY(string_or(object, "prepend_scheme", "always"));
  // Older files say add_prefix_space instead.
  if (!TRY(bool_or(object, "add_prefix_space", true))) return PrependScheme::never;
  if (name == "always") return PrependScheme::always;
  if (name == "never") return PrependScheme::never;
  if (name == "first") return PrependScheme::first;
  return unsupported(fmt::format("prepend_scheme '{}' is not known", name));
}

Made parse_metaspace(const JsonObject& object) {
  const char32_t mark = TRY(char_or(object, "replacement", U'\u2581'));
  const PrependScheme scheme = TRY(read_prepend_scheme(object));
  const bool split = TRY(bool_or(object, "split", true));
  const auto space = TRY(TextPattern::make({" ", false}));
  std::string mark_text;
  append_char(mark_text, mark);
  return from_function([=](PieceList& list) {
    rewrite_pieces(list, [&](std::string_view text, bool at_start) {
      std::string out = space.replace_all(text, mark_text);
      const bool wanted =
          scheme == PrependScheme::always || (scheme == PrependScheme::first && at_start);
      return wanted && !out.starts_with(mark_text) ? mark_text + out : out;
    });
    if (split) {
      split_at_chars(list, SplitBehavior::merged_with_next,
                     [mark](char32_t c) { return c == mark; });
    }
  });
}

class SequencePreTokenizer final : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<const PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(PieceList& list) const override {
    const size_t limit = max_grown_bytes(list.text.size());
    for (const auto& step : steps_) {
      if (list.text.size() > limit) break;
      step->apply(list);
    }
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

using Steps = std::vector<std::unique_ptr<const PreTokenizer>>;

// Nested sequences become one, so that one limit holds for all of it.
Result<void> collect_steps(const JsonObject& sequence, int depth, Steps& steps) {
  for (const Json& item : *TRY(read_part_list(sequence, "pretokenizers", depth))) {
    if (item.is_null()) continue;
    const JsonPart part = TRY(read_part(item, "pre-tokenizer"));
    if (part.type == "Sequence") {
      TRY(collect_steps(*part.object, depth + 1, steps));
    } else {
      steps.push_back(TRY(parse_pre_tokenizer(item)));
    }
    if (steps.size() > kMaxParts)
      return unsupported(fmt::format("more than {} pre-tokenizers", kMaxParts));
  }
  return {};
}

Made parse_sequence(const JsonObject& object) {
  Steps steps;
  TRY(collect_steps(object, 0, steps));
  return std::unique_ptr<const PreTokenizer>(
      std::make_unique<SequencePreTokenizer>(std::move(steps)));
}

Made parse_digits(const JsonObject& object) {
  const auto behavior = TRY(bool_or(object, "individual_digits", false))
                            ? SplitBehavior::isolated
                            : SplitBehavior::contiguous;
  return from_function([behavior](PieceList& list) { split_at_chars(list, behavior, is_numeric); });
}

Made parse_punctuation(const JsonObject& object) {
  const auto behavior = TRY(parse_split_behavior(TRY(string_or(object, "behavior", "Isolated"))));
  return from_function(
      [behavior](PieceList& list) { split_at_chars(list, behavior, is_punctuation); });
}

// Runs of word characters and runs of the other non-blank ones.
void split_words(PieceList& list) {
  const auto kind = [](char32_t c) { return is_word(c) ? 1 : is_white_space(c) ? 0 : 2; };
  std::vector<TextRange> pieces;
  for (const TextRange& piece : list.pieces) {
    int last = 0;
    for (size_t i = piece.begin; i < piece.end;) {
      const size_t begin = i;
      const int now = kind(next_char(list.text, i));
      if (now != 0 && now == last) {
        pieces.back().end = i;
      } else if (now != 0) {
        pieces.push_back({begin, i});
      }
      last = now;
    }
  }
  list.pieces = std::move(pieces);
}

Made parse_simple(std::string_view type) {
  if (type == "Whitespace") return from_function([](PieceList& list) { split_words(list); });
  if (type == "WhitespaceSplit") {
    return from_function(
        [](PieceList& list) { split_at_chars(list, SplitBehavior::removed, is_white_space); });
  }
  if (type == "BertPreTokenizer") {
    return from_function([](PieceList& list) {
      split_at_chars(list, SplitBehavior::removed, is_white_space);
      split_at_chars(list, SplitBehavior::isolated, is_punctuation);
    });
  }
  return unsupported(fmt::format("pre-tokenizer '{}' is not known", type));
}

}  // namespace

Result<std::unique_ptr<const PreTokenizer>> parse_pre_tokenizer(const Json& value) {
  if (value.is_null()) return std::unique_ptr<const PreTokenizer>();
  const JsonPart part = TRY(read_part(value, "pre-tokenizer"));
  const JsonObject& object = *part.object;
  if (part.type == "Sequence") return parse_sequence(object);
  if (part.type == "Split") return parse_split(object);
  if (part.type == "ByteLevel") return parse_byte_level(object);
  if (part.type == "Metaspace") return parse_metaspace(object);
  if (part.type == "Digits") return parse_digits(object);
  if (part.type == "Punctuation") return parse_punctuation(object);
  if (part.type == "CharDelimiterSplit") {
    const char32_t mark = TRY(char_or(object, "delimiter", U' '));
    return from_function([mark](PieceList& list) {
      split_at_chars(list, SplitBehavior::removed, [mark](char32_t c) { return c == mark; });
    });
  }
  return parse_simple(part.type);
}

}  // namespace exo
