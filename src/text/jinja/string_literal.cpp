#include "text/jinja/string_literal.h"

#include <fmt/core.h>

#include <cctype>
#include <cstdlib>

#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

// Digits, each perhaps after one underscore; returns the end.
size_t scan_digits(std::string_view text, size_t at, int base, bool underscore_first) {
  const auto is_digit = [&](size_t i) {
    return i < text.size() && std::isxdigit(static_cast<unsigned char>(text[i])) &&
           (base == 16 ||
            (std::isdigit(static_cast<unsigned char>(text[i])) && text[i] < '0' + base));
  };
  size_t end = at;
  bool first = true;
  while (true) {
    if (is_digit(end))
      end += 1;
    else if (end < text.size() && text[end] == '_' && (!first || underscore_first) &&
             is_digit(end + 1))
      end += 2;
    else
      return end;
    first = false;
  }
}

std::string without_underscores(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != '_') out += c;
  return out;
}

// The end of a float literal; 0 when the text is no float.
size_t scan_float(std::string_view text) {
  size_t end = scan_digits(text, 0, 10, false);
  bool is_float = false;
  if (end + 1 < text.size() && text[end] == '.' &&
      std::isdigit(static_cast<unsigned char>(text[end + 1]))) {
    end = scan_digits(text, end + 1, 10, false);
    is_float = true;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t digits = end + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    const size_t after = scan_digits(text, digits, 10, false);
    if (after > digits) return after;
  }
  return is_float ? end : 0;
}

int base_of(std::string_view text) {
  if (text.size() < 3 || text[0] != '0') return 10;
  const int letter = std::tolower(static_cast<unsigned char>(text[1]));
  return letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
}

struct Escapes {
  std::string_view body;
  int line;
  std::string out;
  size_t at = 0;
  char32_t high = 0;  // half of a surrogate pair

  void put(char32_t code) {
    if (code >= 0xDC00 && code < 0xE000 && high != 0) {
      append_utf8(out, 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00));
      high = 0;
      return;
    }
    flush();
    if (code >= 0xD800 && code < 0xDC00)
      high = code;
    else
      append_utf8(out, code);
  }
  void flush() {
    if (high != 0) append_utf8(out, 0xFFFD);
    high = 0;
  }

  void hexadecimal(size_t digits) {
    const std::string_view text = body.substr(at, digits);
    const auto code = text.size() == digits ? parse_int(text, 16) : std::nullopt;
    if (!code || *code > 0x10FFFF) fail("a string has a bad \\x, \\u or \\U escape", line);
    at += digits;
    put(static_cast<char32_t>(*code));
  }

  void octal() {
    char32_t code = 0;
    for (int i = 0; i < 3 && at < body.size() && body[at] >= '0' && body[at] <= '7'; ++i)
      code = code * 8 + static_cast<char32_t>(body[at++] - '0');
    put(code);
  }

  // Python's decoder sees other letters as \xe9 or \u4e2d here, behind a stray backslash.
  void unknown() {
    flush();
    const CodePoint point = decode_at(body, at);
    const auto code = static_cast<uint32_t>(point.code);
    out += '\\';
    if (code < 0x80)
      out += static_cast<char>(code);
    else
      out += code < 0x100     ? fmt::format("x{:02x}", code)
             : code < 0x10000 ? fmt::format("u{:04x}", code)
                              : fmt::format("U{:08x}", code);
    at += point.size_bytes;
  }

  void escape() {
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char letter = body[at];
    if (const size_t known = kLetters.find(letter); known != std::string_view::npos) {
      ++at;
      return put(static_cast<unsigned char>(kMeanings[known]));
    }
    if (letter >= '0' && letter <= '7') return octal();
    if (letter == 'N') fail("\\N{...} escapes are not supported", line);
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (digits > 0) {
      ++at;
      return hexadecimal(digits);
    }
    if (letter == '\n')
      ++at;  // a continued line
    else
      unknown();
  }
};

}  // namespace

std::string unescape_string(std::string_view body, int line) {
  Escapes escapes{body, line, {}};
  while (escapes.at < body.size()) {
    if (body[escapes.at] == '\\' && escapes.at + 1 < body.size()) {
      ++escapes.at;
      escapes.escape();
    } else {
      escapes.flush();
      escapes.out += body[escapes.at++];
    }
  }
  escapes.flush();
  return std::move(escapes.out);
}

NumberLiteral scan_number(std::string_view text, bool may_be_float) {
  const size_t float_end = may_be_float ? scan_float(text) : 0;
  if (float_end > 0) {
    const std::string digits = without_underscores(text.substr(0, float_end));
    return {std::strtod(digits.c_str(), nullptr), float_end};
  }
  const int base = base_of(text);
  if (base != 10) {
    const size_t end = scan_digits(text, 2, base, true);
    const auto value = parse_int(without_underscores(text.substr(2, end - 2)), base);
    if (value) return {*value, end};
  }
  const size_t end = scan_digits(text, 0, text[0] == '0' ? 1 : 10, false);
  return {*parse_int(without_underscores(text.substr(0, end)), 10), end};
}

}  // namespace exo::jinja
