#include "text/normalizer.h"

#include <fmt/core.h>

#include <optional>
#include <vector>

#include "text/byte_alphabet.h"
#include "text/json_parts.h"
#include "text/pattern.h"
#include "text/precompiled.h"
#include "text/unicode.h"

namespace exo {
namespace {

using Made = Result<std::unique_ptr<const Normalizer>>;

// Rewrites one character after the other; enough for most of them.
template <class Rewrite>
std::string map_chars(std::string_view text, Rewrite rewrite) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) rewrite(out, next_char(text, i));
  return out;
}

template <class Function>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  std::string apply(std::string text) const override { return function_(std::move(text)); }

 private:
  Function function_;
};

template <class Function>
Made from_function(Function function) {
  return std::unique_ptr<const Normalizer>(
      std::make_unique<FunctionNormalizer<Function>>(std::move(function)));
}

Made unicode_form(NormalForm form) {
  return from_function([form](std::string text) { return to_normal_form(text, form); });
}

std::string strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    size_t next = 0;
    if (!is_white_space(next_char(text, next))) break;
    text.remove_prefix(next);
  }
  while (right && !text.empty()) {
    size_t start = previous_char_start(text, text.size());
    const size_t cut = start;
    if (!is_white_space(next_char(text, start))) break;
    text = text.substr(0, cut);
  }
  return std::string(text);
}

bool is_cjk_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

struct BertOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};

std::string clean_text(std::string_view text) {
  return map_chars(text, [](std::string& out, char32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') {
      out += ' ';
    } else if (c != 0 && c != 0xFFFD && !is_control_or_format(c)) {
      append_char(out, is_white_space(c) ? U' ' : c);
    }
  });
}

std::string bert(std::string text, const BertOptions& options) {
  if (options.clean_text) text = clean_text(text);
  if (options.handle_chinese_chars) {
    text = map_chars(text, [](std::string& out, char32_t c) {
      const bool apart = is_cjk_ideograph(c);
      if (apart) out += ' ';
      append_char(out, c);
      if (apart) out += ' ';
    });
  }
  if (options.strip_accents) {
    text = map_chars(to_normal_form(text, NormalForm::nfd), [](std::string& out, char32_t c) {
      if (!is_nonspacing_mark(c)) append_char(out, c);
    });
  }
  return options.lowercase ? map_chars(text, append_lower) : text;
}

Made parse_bert(const JsonObject& object) {
  BertOptions options;
  options.clean_text = TRY(bool_or(object, "clean_text", true));
  options.handle_chinese_chars = TRY(bool_or(object, "handle_chinese_chars", true));
  options.lowercase = TRY(bool_or(object, "lowercase", true));
  options.strip_accents = TRY(bool_or(object, "strip_accents", options.lowercase));
  return from_function([options](std::string text) { return bert(std::move(text), options); });
}

Made parse_replace(const JsonObject& object) {
  auto pattern = TRY(TextPattern::make(TRY(read_pattern(object))));
  auto content = TRY(required_string(object, "content"));
  return from_function([pattern = std::move(pattern), content = std::move(content)](
                           const std::string& text) { return pattern.replace_all(text, content); });
}

Made parse_strip(const JsonObject& object) {
  const bool left = TRY(bool_or(object, "strip_left", true));
  const bool right = TRY(bool_or(object, "strip_right", true));
  return from_function([left, right](const std::string& text) { return strip(text, left, right); });
}

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<const Normalizer>> steps)
      : steps_(std::move(steps)) {}
  std::string apply(std::string text) const override {
    const size_t limit = max_grown_bytes(text.size());
    for (const auto& step : steps_) {
      if (text.size() > limit) break;
      text = step->apply(std::move(text));
    }
    return text;
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

using Steps = std::vector<std::unique_ptr<const Normalizer>>;

// Nested sequences become one, so that one limit holds for all of it.
Result<void> collect_steps(const JsonObject& sequence, int depth, Steps& steps) {
  for (const Json& item : *TRY(read_part_list(sequence, "normalizers", depth))) {
    if (item.is_null()) continue;
    const JsonPart part = TRY(read_part(item, "normalizer"));
    if (part.type == "Sequence") {
      TRY(collect_steps(*part.object, depth + 1, steps));
    } else {
      steps.push_back(TRY(parse_normalizer(item)));
    }
    if (steps.size() > kMaxParts)
      return unsupported(fmt::format("more than {} normalizers", kMaxParts));
  }
  return {};
}

Made parse_sequence(const JsonObject& object) {
  Steps steps;
  TRY(collect_steps(object, 0, steps));
  return std::unique_ptr<const Normalizer>(std::make_unique<SequenceNormalizer>(std::move(steps)));
}

// The control characters that NMT's normalisation drops, and what it takes for a space.
void append_nmt(std::string& out, char32_t c) {
  const bool dropped = (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) ||
                       c == 0x7F || c == 0x8F || c == 0x9F;
  const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  if (!dropped) append_char(out, space ? U' ' : c);
}

Made parse_simple(std::string_view type) {
  if (type == "NFC") return unicode_form(NormalForm::nfc);
  if (type == "NFD") return unicode_form(NormalForm::nfd);
  if (type == "NFKC") return unicode_form(NormalForm::nfkc);
  if (type == "NFKD") return unicode_form(NormalForm::nfkd);
  if (type == "Lowercase")
    return from_function([](const std::string& text) { return map_chars(text, append_lower); });
  if (type == "StripAccents") {
    return from_function([](const std::string& text) {
      return map_chars(text, [](std::string& out, char32_t c) {
        if (!is_mark(c)) append_char(out, c);
      });
    });
  }
  if (type == "Nmt")
    return from_function([](const std::string& text) { return map_chars(text, append_nmt); });
  if (type == "ByteLevel")
    return from_function([](const std::string& text) { return to_byte_alphabet(text); });
  return unsupported(fmt::format("normalizer '{}' is not known", type));
}

}  // namespace

Result<std::unique_ptr<const Normalizer>> parse_normalizer(const Json& value) {
  if (value.is_null()) return std::unique_ptr<const Normalizer>();
  const JsonPart part = TRY(read_part(value, "normalizer"));
  const JsonObject& object = *part.object;
  if (part.type == "Sequence") return parse_sequence(object);
  if (part.type == "Replace") return parse_replace(object);
  if (part.type == "Strip") return parse_strip(object);
  if (part.type == "BertNormalizer") return parse_bert(object);
  if (part.type == "Prepend") {
    auto prefix = TRY(required_string(object, "prepend"));
    return from_function([prefix = std::move(prefix)](std::string text) {
      return text.empty() ? text : prefix + text;
    });
  }
  if (part.type == "Precompiled") {
    const std::string table = TRY(string_or(object, "precompiled_charsmap", ""));
    auto charsmap = TRY(PrecompiledCharsmap::parse(table));
    return from_function(
        [charsmap = std::move(charsmap)](const std::string& text) { return charsmap.apply(text); });
  }
  return parse_simple(part.type);
}

}  // namespace exo
