// Text by code points, where Python's str counts in code points. Input is valid UTF-8 (see
// to_valid_utf8); pure functions, all thread-safe, none fails.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace exo::jinja {

struct CodePoint {
  char32_t code;
  size_t size_bytes;
};
CodePoint decode_at(std::string_view text, size_t offset);
void append_utf8(std::string& out, char32_t code);
std::string to_valid_utf8(std::string_view text);  // invalid bytes become U+FFFD

bool is_ascii(std::string_view text);
size_t count_code_points(std::string_view text);
// The byte at which the index-th code point starts; text.size() beyond the end.
size_t offset_of(std::string_view text, size_t index);
// f(character, code) for each.
template <class Function>
void for_each_code_point(std::string_view text, Function f) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    f(text.substr(i, point.size_bytes), point.code);
    i += point.size_bytes;
  }
}
std::vector<std::string_view> split_code_points(std::string_view text);

// Classes and cases as Python's str has them.
bool is_space(char32_t code);
bool is_line_break(char32_t code);
bool is_printable(char32_t code);
bool is_alpha(char32_t code);
bool is_decimal(char32_t code);
bool is_numeric(char32_t code);
bool is_word(char32_t code);
bool is_identifier_start(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);
void append_upper(std::string& out, char32_t code);
using exo::append_lower;
void append_title(std::string& out, char32_t code);
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);

enum class Side { left, right, both };
std::string_view strip_space(std::string_view text, Side side = Side::both);
std::string_view strip_characters(std::string_view text, std::string_view characters, Side side);
// Without the line breaks, or with them.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

}  // namespace exo::jinja
