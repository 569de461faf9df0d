// str() and repr() of Python's values, and the numbers' texts.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/object.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"

namespace exo::jinja {
namespace {

void append_escaped(std::string& out, const CodePoint& point, char quote) {
  const char32_t code = point.code;
  if (code == '\n') {
    out += "\\n";
  } else if (code == '\r') {
    out += "\\r";
  } else if (code == '\t') {
    out += "\\t";
  } else if (code == '\\' || code == static_cast<char32_t>(quote)) {
    out += '\\';
    out += static_cast<char>(code);
  } else if (is_printable(code)) {
    append_utf8(out, code);
  } else if (code < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(code));
  } else if (code < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(code));
  }
}

void append_items(std::string& out, const std::vector<Value>& items, Budget& budget) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, items[i], budget);
  }
}

void append_dict(std::string& out, const Dict& dict, Budget& budget) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out += ", ";
    first = false;
    append_repr(out, key, budget);
    out += ": ";
    append_repr(out, value, budget);
  }
  out += '}';
}

void append_range(std::string& out, const Sequence& range) {
  const auto& [start, stop, step] = range.range;
  out += "range(" + decimal(start) + ", " + decimal(stop);
  if (step != 1) out += ", " + decimal(step);
  out += ')';
}

void append_sequence(std::string& out, const Value& value, Budget& budget) {
  const Sequence& sequence = value.sequence();
  if (sequence.kind == SequenceKind::range) return append_range(out, sequence);
  if (sequence.kind == SequenceKind::generator) {
    out += "<generator object>";
    return;
  }
  if (sequence.is_view()) out += std::string(type_name(value)) + "(";
  out += sequence.is_tuple() ? '(' : '[';
  append_items(out, sequence.items, budget);
  if (sequence.is_tuple() && sequence.items.size() == 1) out += ',';
  out += sequence.is_tuple() ? ')' : ']';
  if (sequence.is_view()) out += ')';
}

void append_scalar(std::string& out, const Value& value) {
  if (value.is_none())
    out += "None";
  else if (value.is_bool())
    out += value.boolean() ? "True" : "False";
  else if (value.is_int())
    out += decimal(value.integer());
  else
    out += repr_float(value.number());
}

}  // namespace

std::string decimal(Int value) {
  if (value == 0) return "0";
  std::string out;
  const bool negative = value < 0;
  for (; value != 0; value /= 10) {
    const int digit = static_cast<int>(value % 10);
    out += static_cast<char>('0' + (digit < 0 ? -digit : digit));
  }
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

std::optional<Int> parse_int(std::string_view text, int base) {
  if (text.empty()) return std::nullopt;
  Int value = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 10
                      : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                                             : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, Int{base}, &value) ||
        __builtin_add_overflow(value, Int{digit}, &value))
      fail_limit("an integer of the chat template has more than 127 bits");
  }
  return value;
}

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string out = fmt::format("{}", value);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

std::string repr_text(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const bool both = single && text.find('"') != std::string_view::npos;
  const char quote = single && !both ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_at(text, i);
    append_escaped(out, point, quote);
    i += point.size_bytes;
  }
  out += quote;
  return out;
}

void append_repr(std::string& out, const Value& value, Budget& budget) {
  const DepthGuard guard(budget);
  budget.check_size(out.size());
  if (value.is_undefined())
    out += "Undefined";
  else if (value.is_markup())
    out += "Markup(" + repr_text(value.text()) + ")";
  else if (value.is_string())
    out += repr_text(value.text());
  else if (value.is_sequence())
    append_sequence(out, value, budget);
  else if (value.is_dict())
    append_dict(out, value.dict(), budget);
  else if (value.is_object())
    out += value.object().repr(budget);
  else
    append_scalar(out, value);
}

void append_str(std::string& out, const Value& value, Budget& budget) {
  if (value.is_undefined()) return;
  if (value.is_string())
    out += value.text();
  else
    append_repr(out, value, budget);
}

std::string to_str(const Value& value, Budget& budget) {
  std::string out;
  append_str(out, value, budget);
  return out;
}

}  // namespace exo::jinja
