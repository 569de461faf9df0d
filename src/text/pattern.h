// TextPattern: what Split and Replace look for, a fixed string or a regular expression. Immutable,
// thread-safe. Fails where the regular expression cannot be compiled.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/json_parts.h"
#include "text/regex.h"

namespace exo {

class TextPattern {
 public:
  static Result<TextPattern> make(PatternText text);

  // Scans texts one after the other; keeps a regular expression's state between them.
  class Scanner {
   public:
    explicit Scanner(const TextPattern& pattern);
    void reset(std::string_view text);  // valid UTF-8; must outlive the calls of next()
    bool next(TextRange& match);

   private:
    const TextPattern& pattern_;
    std::unique_ptr<RegexMatcher> matcher_;
    std::string_view text_;
    size_t position_ = 0;
  };

  // Stops replacing at max_grown_bytes(text.size()).
  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  std::string literal_;
  std::shared_ptr<const Regex> regex_;  // null: literal_
};

}  // namespace exo
