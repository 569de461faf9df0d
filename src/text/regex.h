// Regex: the regular expressions of tokenizer.json. They are written for Oniguruma (Ruby syntax)
// and run here on PCRE2, JIT-compiled where the system allows it, interpreted elsewhere. compile()
// translates what the two spell differently and fails with `unsupported` where PCRE2 knows no
// equivalent. A Regex is immutable and may be shared by threads; a RegexMatcher belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo {

// Oniguruma -> PCRE2, as text. Exposed for its tests.
std::string translate_oniguruma(std::string_view pattern);

class Regex {
 public:
  static Result<std::shared_ptr<const Regex>> compile(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

 private:
  friend class RegexMatcher;
  Regex() = default;
  struct Code;
  std::unique_ptr<Code> code_;
};

struct TextRange {
  size_t begin = 0, end = 0;
};

// All matches in one text after the other, leftmost first, never overlapping. A pattern that needs
// more steps than a fixed multiple of the text's length finds no further match in it: hostile
// patterns cost time in proportion to the text.
class RegexMatcher {
 public:
  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  void reset(std::string_view valid_utf8);  // must outlive the calls of next()
  bool next(TextRange& match);

 private:
  bool find_from(size_t start, TextRange& match);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace exo
