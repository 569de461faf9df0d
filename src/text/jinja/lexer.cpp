#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "text/jinja/string_literal.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr std::array<std::string_view, 6> kLongSymbols = {"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view kShortSymbols = "+-/*%~[](){}><=.:|,;";

// One kind of line break, and one trailing break less: what jinja2 does before it reads on.
std::string normalize_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_lines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) read_text();
    add(TokenType::end, "");
    return std::move(tokens_);
  }

 private:
  struct Opening {
    size_t at;
    size_t after;  // behind the sign
    char kind;     // '{', '%', '#'
    char sign;     // '-', '+' or 0
  };

  bool looking_at(std::string_view text) const {
    return source_.compare(at_, text.size(), text) == 0;
  }
  void add(TokenType type, std::string text) {
    tokens_.push_back({type, std::move(text), {}, line_});
  }

  void advance_to(size_t offset) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
    if (offset > at_) line_starting_ = source_[offset - 1] == '\n';
    at_ = offset;
  }

  size_t skip_space(size_t offset) const {
    while (offset < source_.size()) {
      const CodePoint point = decode_at(source_, offset);
      if (!is_space(point.code)) break;
      offset += point.size_bytes;
    }
    return offset;
  }

  Opening find_opening() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      const char kind = source_[i + 1];
      if (source_[i] != '{' || (kind != '{' && kind != '%' && kind != '#')) continue;
      const char sign = i + 2 < source_.size() ? source_[i + 2] : '\0';
      const bool signed_tag = sign == '-' || sign == '+';
      return {i, i + (signed_tag ? 3u : 2u), kind, signed_tag ? sign : '\0'};
    }
    return {source_.size(), source_.size(), '\0', '\0'};
  }

  // Text before a tag: "-" strips it, lstrip_blocks drops the blanks of the tag's own line.
  void add_data(std::string_view text, char sign, bool strip_line) {
    if (sign == '-') {
      text = strip_space(text, Side::right);
    } else if (sign == 0 && strip_line) {
      const size_t start = text.rfind('\n') + 1;  // npos + 1 is 0
      const bool whole_line = start > 0 || line_starting_;
      if (whole_line && strip_space(text.substr(start)).empty()) text = text.substr(0, start);
    }
    if (!text.empty()) add(TokenType::data, std::string(text));
  }

  void read_text() {
    const Opening opening = find_opening();
    const std::string_view text = std::string_view(source_).substr(at_, opening.at - at_);
    add_data(text, opening.sign, opening.kind == '%' || opening.kind == '#');
    if (opening.kind == 0) return advance_to(source_.size());
    const size_t raw = opening.kind == '%' ? after_raw_tag(opening.after) : 0;
    advance_to(raw > 0 ? raw : opening.after);
    if (raw > 0) return read_raw();
    if (opening.kind == '#') return read_comment();
    add(opening.kind == '{' ? TokenType::variable_begin : TokenType::block_begin, "");
    read_code(opening.kind == '{');
  }

  // The offset behind "raw %}", 0 when this is another tag.
  size_t after_raw_tag(size_t offset) const {
    offset = skip_space(offset);
    if (source_.compare(offset, 3, "raw") != 0) return 0;
    offset = skip_space(offset + 3);
    if (source_.compare(offset, 3, "-%}") == 0) return skip_space(offset + 3);
    return source_.compare(offset, 2, "%}") == 0 ? offset + 2 : 0;
  }

  // Behind "%}", "-%}" or "+%}" at the offset; 0 when there is none.
  size_t after_block_end(size_t offset, std::string_view closing) const {
    const char sign = offset < source_.size() ? source_[offset] : '\0';
    const bool signed_end = sign == '-' || sign == '+';
    const size_t at = offset + (signed_end ? 1 : 0);
    if (source_.compare(at, 2, closing) != 0) return 0;
    if (sign == '-') return skip_space(at + 2);
    const bool trim = !signed_end && at + 2 < source_.size() && source_[at + 2] == '\n';
    return at + 2 + (trim ? 1 : 0);
  }

  void read_comment() {
    if (at_ == source_.size()) return;  // jinja2 overlooks a tag that is the very end
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) fail("a comment is never closed with '#}'", line_);
    const bool has_sign = close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
    advance_to(after_block_end(has_sign ? close - 1 : close, "#}"));
  }

  void read_raw() {
    if (at_ == source_.size()) return;
    for (size_t i = source_.find("{%", at_); i != std::string::npos;
         i = source_.find("{%", i + 1)) {
      const char next = i + 2 < source_.size() ? source_[i + 2] : '\0';
      const char sign = next == '-' || next == '+' ? next : '\0';
      const size_t name = skip_space(i + (sign != 0 ? 3 : 2));
      if (source_.compare(name, 6, "endraw") != 0) continue;
      const size_t after = after_block_end(skip_space(name + 6), "%}");
      if (after == 0) continue;
      add_data(std::string_view(source_).substr(at_, i - at_), sign, true);
      return advance_to(after);
    }
    fail("a raw block is never closed with '{% endraw %}'", line_);
  }

  // Behind the closing tag at the current place; 0 when there is none.
  size_t after_closing(bool variable) const {
    if (!brackets_.empty()) return 0;
    if (!variable) return after_block_end(at_, "%}");
    if (looking_at("-}}")) return skip_space(at_ + 3);
    return looking_at("}}") ? at_ + 2 : 0;
  }

  void read_code(bool variable) {
    while (at_ < source_.size()) {
      const size_t after = after_closing(variable);
      if (after > 0) {
        add(variable ? TokenType::variable_end : TokenType::block_end, "");
        return advance_to(after);
      }
      const size_t skipped = skip_space(at_);
      if (skipped > at_)
        advance_to(skipped);
      else
        read_token();
    }
  }

  void read_token() {
    const CodePoint first = decode_at(source_, at_);
    if (first.code < 0x80 && is_decimal(first.code)) return read_number();
    if (is_word(first.code)) return read_name();
    if (first.code == '"' || first.code == '\'') return read_string(static_cast<char>(first.code));
    read_symbol();
  }

  void read_name() {
    size_t end = at_;
    if (!is_identifier_start(decode_at(source_, at_).code)) fail("bad character in a name", line_);
    while (end < source_.size() && is_word(decode_at(source_, end).code))
      end += decode_at(source_, end).size_bytes;
    if (end - at_ > kMaxNameBytes) fail_limit("a name in the chat template is too long");
    add(TokenType::name, source_.substr(at_, end - at_));
    advance_to(end);
  }

  void read_number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    const NumberLiteral literal = scan_number(std::string_view(source_).substr(at_), !after_dot);
    add(literal.value.is_float() ? TokenType::real : TokenType::integer, "");
    tokens_.back().number = literal.value;
    advance_to(at_ + literal.size_bytes);
  }

  void read_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string is never closed", line_);
    const std::string_view body = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
    add(TokenType::string, unescape_string(body, line_));
    advance_to(end + 1);
  }

  void read_symbol() {
    std::string symbol(1, source_[at_]);
    for (const std::string_view longer : kLongSymbols)
      if (looking_at(longer)) symbol = longer;
    if (symbol.size() == 1 && kShortSymbols.find(symbol) == std::string_view::npos)
      fail("unexpected character " +
               repr_text(source_.substr(at_, decode_at(source_, at_).size_bytes)),
           line_);
    balance(symbol);
    add(TokenType::symbol, symbol);
    advance_to(at_ + symbol.size());
  }

  void balance(const std::string& symbol) {
    static constexpr std::string_view kOpen = "([{";
    static constexpr std::string_view kClose = ")]}";
    if (kOpen.find(symbol) != std::string_view::npos) brackets_ += kClose[kOpen.find(symbol)];
    if (kClose.find(symbol) == std::string_view::npos) return;
    if (brackets_.empty() || brackets_.back() != symbol[0])
      fail("unexpected '" + symbol + "'", line_);
    brackets_.pop_back();
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string brackets_;  // the closing ones still expected
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(to_valid_utf8(source)).run(); }

}  // namespace exo::jinja
