// Digits of numbers without their sign, for both kinds of formatting.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr int kMaxPrecision = 400;

std::string in_base(Int value, unsigned base, bool upper) {
  if (value == 0) return "0";
  std::string out;
  for (; value != 0; value /= static_cast<int>(base))
    out += (upper ? "0123456789ABCDEF"
                  : "0123456789abcdef")[static_cast<size_t>(value % static_cast<int>(base))];
  std::reverse(out.begin(), out.end());
  return out;
}

std::string group_digits(const std::string& digits, char separator, size_t size) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % size == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string integer_digits(Int value, const NumberStyle& style) {
  switch (style.type) {
    case 'b':
      return (style.alternate ? "0b" : "") + in_base(value, 2, false);
    case 'o':
      return (style.alternate ? "0o" : "") + in_base(value, 8, false);
    case 'x':
      return (style.alternate ? "0x" : "") + in_base(value, 16, false);
    case 'X':
      return (style.alternate ? "0X" : "") + in_base(value, 16, true);
    default:
      return decimal(value);
  }
}

std::string float_digits(double value, const NumberStyle& style) {
  const int precision = style.precision < 0 ? 6 : style.precision;
  switch (style.type) {
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", value, precision);
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    case 'G':
      return fmt::format("{:.{}G}", value, std::max(precision, 1));
    case 'r':
      if (style.precision < 0) return repr_float(value);
      [[fallthrough]];
    default:
      return fmt::format("{:.{}g}", value, std::max(precision, 1));
  }
}

}  // namespace

std::string format_unsigned(const Value& magnitude, const NumberStyle& style) {
  if (style.precision > kMaxPrecision) fail_limit("a format asks for too many digits");
  const bool whole = std::string_view("dboxX").find(style.type) != std::string_view::npos;
  std::string digits =
      whole ? integer_digits(magnitude.integer(), style) : float_digits(magnitude.number(), style);
  if (style.type == 'r' && style.precision >= 0 && std::isfinite(magnitude.number()) &&
      digits.find_first_of(".e") == std::string::npos)
    digits += ".0";
  if (style.grouping == '\0') return digits;
  const bool by_four = std::string_view("boxX").find(style.type) != std::string_view::npos;
  return group_digits(digits, style.grouping, by_four ? 4 : 3);
}

std::string pad(std::string text, size_t width, char align, std::string_view fill, Budget& budget) {
  const size_t length = count_code_points(text);
  if (length >= width) return text;
  const size_t missing = width - length;
  budget.allocate(missing * fill.size() + text.size());
  const size_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return out;
}

}  // namespace exo::jinja
