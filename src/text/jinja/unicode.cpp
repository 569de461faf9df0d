#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <unordered_set>

namespace exo::jinja {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

int category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

// Upper case of the few letters that become several; the rest is one to one.
std::string_view special_upper(char32_t code) {
  switch (code) {
    case 0xDF:
      return "SS";
    case 0x149:
      return "\xCA\xBCN";
    case 0x1F0:
      return "J\xCC\x8C";
    case 0xFB00:
      return "FF";
    case 0xFB01:
      return "FI";
    case 0xFB02:
      return "FL";
    case 0xFB03:
      return "FFI";
    case 0xFB04:
      return "FFL";
    default:
      return "";
  }
}

size_t last_start(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

template <class Test>
std::string_view strip_if(std::string_view text, Side side, Test test) {
  while (side != Side::right && !text.empty() && test(text, size_t{0}))
    text.remove_prefix(decode_at(text, 0).size_bytes);
  while (side != Side::left && !text.empty() && test(text, last_start(text)))
    text.remove_suffix(text.size() - last_start(text));
  return text;
}

}  // namespace

CodePoint decode_at(std::string_view text, size_t offset) {
  const auto byte = static_cast<unsigned char>(text[offset]);
  if (byte < 0x80) return {byte, 1};
  utf8proc_int32_t code = -1;
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + offset);
  const auto left = static_cast<utf8proc_ssize_t>(text.size() - offset);
  const utf8proc_ssize_t used = utf8proc_iterate(data, left, &code);
  if (used <= 0) return {kReplacement, 1};
  return {static_cast<char32_t>(code), static_cast<size_t>(used)};
}

void append_utf8(std::string& out, char32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = kReplacement;
  utf8proc_uint8_t buffer[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(size));
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    append_utf8(out, point.code);
    i += point.size_bytes;
  }
  return out;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t offset_of(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += decode_at(text, at).size_bytes;
  return at;
}

std::vector<std::string_view> split_code_points(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    const size_t size = decode_at(text, i).size_bytes;
    out.push_back(text.substr(i, size));
    i += size;
  }
  return out;
}

bool is_space(char32_t code) {
  if (code < 0x80) return (code >= 9 && code <= 13) || (code >= 28 && code <= 32);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_line_break(char32_t code) {
  return (code >= 10 && code <= 13) || (code >= 28 && code <= 30) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

bool is_printable(char32_t code) {
  if (code < 0x80) return code >= 32 && code < 127;
  const int kind = category(code);
  return kind != UTF8PROC_CATEGORY_CN && kind < UTF8PROC_CATEGORY_ZS;
}

bool is_alpha(char32_t code) {
  const int kind = category(code);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t code) {
  const int kind = category(code);
  return kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO;
}
bool is_word(char32_t code) { return code == '_' || is_alpha(code) || is_numeric(code); }
bool is_identifier_start(char32_t code) {
  return code == '_' || is_alpha(code) || category(code) == UTF8PROC_CATEGORY_NL;
}
bool is_upper(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t code) {
  return category(code) == UTF8PROC_CATEGORY_LL || code == 0xAA || code == 0xBA;
}

void append_upper(std::string& out, char32_t code) {
  const std::string_view special = special_upper(code);
  if (!special.empty())
    out += special;
  else
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<int32_t>(code))));
}
void append_title(std::string& out, char32_t code) {
  if (code == 0xDF)
    out += "Ss";
  else
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<int32_t>(code))));
}

std::string to_upper(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    append_upper(out, point.code);
    i += point.size_bytes;
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    append_lower(out, point.code);
    i += point.size_bytes;
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return "";
  const CodePoint first = decode_at(text, 0);
  std::string out;
  append_title(out, first.code);
  return out + to_lower(text.substr(first.size_bytes));
}

std::string_view strip_space(std::string_view text, Side side) {
  return strip_if(text, side, [](std::string_view rest, size_t offset) {
    return is_space(decode_at(rest, offset).code);
  });
}

std::string_view strip_characters(std::string_view text, std::string_view characters, Side side) {
  std::unordered_set<char32_t> known;
  for_each_code_point(characters, [&](std::string_view, char32_t code) { known.insert(code); });
  return strip_if(text, side, [&](std::string_view rest, size_t offset) {
    return known.count(decode_at(rest, offset).code) > 0;
  });
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    size_t next = i + point.size_bytes;
    if (is_line_break(point.code)) {
      if (point.code == '\r' && next < text.size() && text[next] == '\n') ++next;
      lines.push_back(text.substr(start, (keep_ends ? next : i) - start));
      start = next;
    }
    i = next;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace exo::jinja
