#include "text/literals.h"

#include "core/json.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr int kMaxDepth = 63;  // one less than parse_json: calls wrap values in an object
constexpr std::string_view kGemmaQuote = "<|\"|>";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '.' ||
         c == '-';
}

}  // namespace

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::optional<std::string> literal_to_json(std::string_view text) {
  LiteralReader reader(text);
  std::string json;
  if (!reader.value(json) || !reader.at_end()) return std::nullopt;
  return json;
}

void LiteralReader::skip_space() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

bool LiteralReader::take(char wanted) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != wanted) return false;
  ++at_;
  return true;
}

bool LiteralReader::at_end() {
  skip_space();
  return at_ == text_.size();
}

std::optional<std::string> LiteralReader::name() {
  skip_space();
  const size_t begin = at_;
  while (at_ < text_.size() && is_name(text_[at_])) ++at_;
  if (at_ == begin || is_digit(text_[begin])) return std::nullopt;
  return std::string(text_.substr(begin, at_ - begin));
}

bool LiteralReader::value(std::string& json) {
  skip_space();
  if (at_ == text_.size() || depth_ == kMaxDepth) return false;
  const char c = text_[at_];
  ++depth_;
  bool read = false;
  if (take('{')) {
    read = dict(json);
  } else if (take('[')) {
    read = list(']', json);
  } else if (take('(')) {
    read = list(')', json);
  } else if (c == '"' || c == '\'' || rest().starts_with(kGemmaQuote)) {
    read = string(json);
  } else {
    read = is_digit(c) || c == '-' ? number(json) : word(json);
  }
  --depth_;
  return read;
}

bool LiteralReader::list(char close, std::string& json) {
  json += '[';
  for (bool first = true; !take(close); first = false) {
    if (!first && !take(',')) return false;
    if (!first && take(close)) break;  // Python allows a comma at the end
    if (!first) json += ", ";
    if (!value(json)) return false;
  }
  json += ']';
  return true;
}

bool LiteralReader::dict(std::string& json) {
  json += '{';
  for (bool first = true; !take('}'); first = false) {
    if (!first && !take(',')) return false;
    if (!first && take('}')) break;
    if (!first) json += ", ";
    skip_space();
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (c == '"' || c == '\'' || rest().starts_with(kGemmaQuote)) {
      if (!string(json)) return false;
    } else {
      const auto key = name();
      if (!key) return false;
      json += to_text(Json(*key));
    }
    if (!take(':')) return false;
    json += ": ";
    if (!value(json)) return false;
  }
  json += '}';
  return true;
}

bool LiteralReader::string(std::string& json) {
  const bool gemma = rest().starts_with(kGemmaQuote);
  const std::string_view quote = gemma ? kGemmaQuote : text_.substr(at_, 1);
  at_ += quote.size();
  std::string out;
  while (!rest().starts_with(quote)) {
    if (at_ == text_.size()) return false;
    if (text_[at_] != '\\' || gemma) {
      out += text_[at_++];
    } else if (!escape(out)) {
      return false;
    }
  }
  at_ += quote.size();
  if (!valid_utf8(out)) return false;
  json += to_text(Json(out));
  return true;
}

std::optional<char32_t> LiteralReader::hex(size_t digits) {
  if (text_.size() - at_ < digits) return std::nullopt;
  char32_t code = 0;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const char c = text_[at_];
    const size_t digit = kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
    if (digit == std::string_view::npos) return std::nullopt;
    code = code * 16 + static_cast<char32_t>(digit);
  }
  return code;
}

// Behind the backslash: what JSON and Python have in common, and what each has alone.
bool LiteralReader::escape(std::string& out) {
  ++at_;
  if (at_ == text_.size()) return false;
  const char c = text_[at_++];
  constexpr std::string_view kLetters = "nrtbf0\\\"'/";
  constexpr std::string_view kMeant("\n\r\t\b\f\0\\\"'/", 10);
  if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
    out += kMeant[known];
    return true;
  }
  if (c == '\n') return true;
  if (c != 'x' && c != 'u' && c != 'U') {  // Python leaves others as they are
    out += '\\';
    out += c;
    return true;
  }
  auto code = hex(c == 'x' ? 2 : c == 'u' ? 4 : 8);
  if (code && *code >= 0xD800 && *code < 0xDC00 && rest().starts_with("\\u")) {
    at_ += 2;
    const auto low = hex(4);
    if (!low || *low < 0xDC00 || *low > 0xDFFF) return false;
    code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
  }
  if (!code || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000)) return false;
  append_char(out, *code);
  return true;
}

bool LiteralReader::number(std::string& json) {
  const size_t begin = at_;
  const auto digits = [&] {
    const size_t first = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ > first;
  };
  const auto next_is = [&](std::string_view any) {
    if (at_ == text_.size() || any.find(text_[at_]) == std::string_view::npos) return false;
    ++at_;
    return true;
  };
  next_is("-");
  const size_t whole = at_;
  if (!digits() || (text_[whole] == '0' && at_ > whole + 1)) return false;
  if (next_is(".") && !digits()) return false;
  if (next_is("eE")) {
    next_is("+-");
    if (!digits()) return false;
  }
  json += text_.substr(begin, at_ - begin);
  return true;
}

bool LiteralReader::word(std::string& json) {
  const auto read = name();
  if (!read) return false;
  if (*read == "true" || *read == "True") {
    json += "true";
  } else if (*read == "false" || *read == "False") {
    json += "false";
  } else if (*read == "null" || *read == "None") {
    json += "null";
  } else {
    return false;
  }
  return true;
}

}  // namespace exo
