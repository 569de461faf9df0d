#include "text/pattern.h"

namespace exo {

Result<TextPattern> TextPattern::make(PatternText text) {
  TextPattern pattern;
  if (text.is_regex) {
    pattern.regex_ = TRY(Regex::compile(text.text));
  } else {
    pattern.literal_ = std::move(text.text);
  }
  return pattern;
}

TextPattern::Scanner::Scanner(const TextPattern& pattern) : pattern_(pattern) {
  if (pattern.regex_) matcher_ = std::make_unique<RegexMatcher>(*pattern.regex_);
}

void TextPattern::Scanner::reset(std::string_view text) {
  text_ = text;
  position_ = 0;
  if (matcher_) matcher_->reset(text);
}

bool TextPattern::Scanner::next(TextRange& match) {
  if (matcher_) return matcher_->next(match);
  if (pattern_.literal_.empty()) return false;
  const size_t found = text_.find(pattern_.literal_, position_);
  if (found == std::string_view::npos) return false;
  match = {found, found + pattern_.literal_.size()};
  position_ = match.end;
  return true;
}

std::string TextPattern::replace_all(std::string_view text, std::string_view content) const {
  std::string out;
  out.reserve(text.size());
  Scanner scanner(*this);
  scanner.reset(text);
  size_t copied = 0;
  const size_t limit = max_grown_bytes(text.size());
  for (TextRange match; out.size() < limit && scanner.next(match); copied = match.end) {
    out += text.substr(copied, match.begin - copied);
    out += content;
  }
  out += text.substr(copied);
  return out;
}

}  // namespace exo
