#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

namespace exo {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct Scan {
  size_t length = 1;     // bytes of the character, or of the maximal broken part
  bool valid = false;    // a whole, well-formed character
  bool partial = false;  // well-formed so far, but the text ends within it
};

// The well-formed byte sequences of the Unicode standard, table 3-7.
Scan scan_char(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t need = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80, high = 0xBF;  // what the second byte may be
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < need; ++i, low = 0x80, high = 0xBF) {
    if (at + i == text.size()) return {i, false, true};
    if (byte(at + i) < low || byte(at + i) > high) return {i, false, false};
  }
  return {need, true, false};
}

utf8proc_category_t category(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

int combining_class(int32_t character) { return utf8proc_get_property(character)->combining_class; }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

void append_decomposed(char32_t character, utf8proc_option_t options, std::vector<int32_t>& out) {
  std::array<utf8proc_int32_t, 32> parts;  // the longest compatibility mapping has 18
  int boundclass = 0;
  const auto count = utf8proc_decompose_char(static_cast<int32_t>(character), parts.data(),
                                             parts.size(), options, &boundclass);
  if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    out.push_back(static_cast<int32_t>(character));
  } else {
    out.insert(out.end(), parts.begin(), parts.begin() + count);
  }
}

// Canonical ordering: each run of combining marks is sorted by class, equal ones stay in order.
void order_marks(std::vector<int32_t>& chars) {
  for (size_t i = 0; i < chars.size();) {
    if (combining_class(chars[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < chars.size() && combining_class(chars[end]) != 0) ++end;
    std::stable_sort(chars.begin() + i, chars.begin() + end,
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
}

}  // namespace

bool valid_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    const Scan scan = scan_char(bytes, i);
    if (!scan.valid) return false;
    i += scan.length;
  }
  return true;
}

std::string repaired_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  Utf8Repair repair;
  repair.push(bytes, out);
  repair.finish(out);
  return out;
}

void Utf8Repair::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!partial_.empty()) {
    joined = std::move(partial_);
    joined += bytes;
    bytes = joined;
    partial_.clear();
  }
  size_t copied = 0;  // valid characters are appended many at a time
  for (size_t i = 0; i < bytes.size();) {
    const Scan scan = scan_char(bytes, i);
    if (!scan.valid) {
      out += bytes.substr(copied, i - copied);
      copied = i + scan.length;
      if (scan.partial) {
        partial_ = std::string(bytes.substr(i));
        return;
      }
      out += kReplacement;
    }
    i += scan.length;
  }
  out += bytes.substr(copied);
}

void Utf8Repair::finish(std::string& out) {
  if (!partial_.empty()) out += kReplacement;
  partial_.clear();
}

char32_t next_char(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) & 0x3Fu : 0u;
  };
  const auto lead = static_cast<unsigned char>(text[position]);
  const size_t at = position;
  if (lead < 0x80) {
    position += 1;
    return lead;
  }
  if (lead < 0xE0) {
    position = std::min(at + 2, text.size());
    return (lead & 0x1Fu) << 6 | byte(at + 1);
  }
  if (lead < 0xF0) {
    position = std::min(at + 3, text.size());
    return (lead & 0x0Fu) << 12 | byte(at + 1) << 6 | byte(at + 2);
  }
  position = std::min(at + 4, text.size());
  return (lead & 0x07u) << 18 | byte(at + 1) << 12 | byte(at + 2) << 6 | byte(at + 3);
}

size_t previous_char_start(std::string_view text, size_t end) {
  size_t start = end;
  while (start > 0 && !is_char_start(text[--start])) {
  }
  return start;
}

void append_char(std::string& out, char32_t character) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | ((character >> shift) & 0x3F)));
  };
  if (character < 0x80) {
    out.push_back(static_cast<char>(character));
  } else if (character < 0x800) {
    out.push_back(static_cast<char>(0xC0 | character >> 6));
    tail(0);
  } else if (character < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | character >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | character >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_numeric(char32_t character) {
  const auto kind = category(character);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t character) {
  const auto kind = category(character);
  return kind >= UTF8PROC_CATEGORY_MN && kind <= UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t character) { return category(character) == UTF8PROC_CATEGORY_MN; }

bool is_word(char32_t c) {
  const auto kind = category(c);
  if (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_NL) return true;  // L, M, Nd, Nl
  if (kind == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D) return true;
  // Symbols that are Alphabetic nevertheless: circled and squared letters.
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

bool is_control_or_format(char32_t character) {
  const auto kind = category(character);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_CO;
}

void append_lower(std::string& out, char32_t character) {
  if (character == 0x130) {  // the only capital whose lower case is two characters
    out += "i\xCC\x87";
    return;
  }
  append_char(out, static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(character))));
}

std::string to_normal_form(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
  int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  if (compatible) options |= UTF8PROC_COMPAT;
  std::vector<int32_t> chars;
  chars.reserve(text.size());
  for (size_t i = 0; i < text.size();)
    append_decomposed(next_char(text, i), static_cast<utf8proc_option_t>(options), chars);
  order_marks(chars);
  if (compose && !chars.empty()) {
    const auto count = utf8proc_normalize_utf32(
        chars.data(), static_cast<utf8proc_ssize_t>(chars.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (count >= 0) chars.resize(static_cast<size_t>(count));
  }
  std::string out;
  out.reserve(text.size());
  for (const int32_t c : chars) append_char(out, static_cast<char32_t>(c));
  return out;
}

}  // namespace exo
