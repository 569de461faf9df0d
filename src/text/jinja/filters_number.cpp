// Filters about numbers, and `default`.
#include <fmt/core.h>

#include <array>
#include <cmath>

#include "text/jinja/filters.h"
#include "text/jinja/strings.h"

namespace exo::jinja {
namespace {

Int truncated(double value) {
  if (!std::isfinite(value) || std::abs(value) > 1e37)
    fail("this float cannot be converted to an integer");
  return static_cast<Int>(value);
}

Value to_int(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("int", arguments, {"default", "base"});
  const Value otherwise = bound.has(0) ? bound.at(0) : Value(0);
  if (input.is_integral()) return input.integer();
  if (input.is_float()) return std::isnan(input.number()) ? otherwise : truncated(input.number());
  if (input.is_undefined()) fail(input.undefined_message());
  if (!input.is_string()) return otherwise;
  const Int base = bound.integer(1, 10);
  if (base != 0 && (base < 2 || base > 36)) return otherwise;
  if (const auto value = parse_python_int(input.text(), static_cast<int>(base))) return *value;
  const auto value = parse_float(input.text());
  return value && !std::isnan(*value) ? Value(truncated(*value)) : otherwise;
}

Value to_float(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("float", arguments, {"default"});
  if (input.is_number()) return input.number();
  if (input.is_undefined()) fail(input.undefined_message());
  const auto value = input.is_string() ? parse_float(input.text()) : std::nullopt;
  if (value) return *value;
  return bound.has(0) ? bound.at(0) : Value(0.0);
}

Value absolute(Runtime&, const Value& input, const Arguments&) {
  if (input.is_float()) return std::abs(input.number());
  if (input.is_integral()) return input.integer() < 0 ? negate(input) : Value(input.integer());
  if (input.is_undefined()) fail(input.undefined_message());
  fail("abs needs a number, not '" + std::string(type_name(input)) + "'");
}

Int power_of_ten(int exponent) {
  Int out = 1;
  for (int i = 0; i < exponent; ++i) out *= 10;
  return out;
}

// Halves go to the even neighbour, as Python's round() has it.
Value round_integer(Int value, int precision) {
  if (precision >= 0) return value;
  if (precision < -36) return 0;
  const Int unit = power_of_ten(-precision);
  Int quotient = value / unit;
  const Int rest = value % unit < 0 ? -(value % unit) : value % unit;
  if (rest * 2 > unit || (rest * 2 == unit && quotient % 2 != 0)) quotient += value < 0 ? -1 : 1;
  return quotient * unit;
}

double round_float(double value, int precision) {
  if (!std::isfinite(value) || precision > 300) return value;
  if (precision >= 0) return *parse_float(fmt::format("{:.{}f}", value, precision));
  const double unit = std::pow(10.0, -precision);
  return std::nearbyint(value / unit) * unit;
}

Value round(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("round", arguments, {"precision", "method"});
  const std::string method = bound.text(1, "common");
  const Int wanted = bound.integer(0, 0);
  if (wanted > 1000 || wanted < -1000) fail_limit("round asks for too much precision");
  const int precision = static_cast<int>(wanted);
  if (method != "common" && method != "ceil" && method != "floor")
    fail("round knows the methods common, ceil and floor");
  if (input.is_undefined()) fail(input.undefined_message());
  if (!input.is_number()) fail("round needs a number, not '" + std::string(type_name(input)) + "'");
  if (method == "common") {
    if (input.is_integral()) return round_integer(input.integer(), precision);
    return round_float(input.number(), precision);
  }
  const Value scale = apply(Operator::power, Value(10), Value(precision), runtime.budget);
  const Value scaled = apply(Operator::multiply, input, scale, runtime.budget);
  const double whole = method == "ceil" ? std::ceil(scaled.number()) : std::floor(scaled.number());
  return apply(Operator::divide, Value(truncated(whole)), scale, runtime.budget);
}

Value filesizeformat(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("filesizeformat", arguments, {"binary"});
  static constexpr std::array<char, 8> kPrefixes = {'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'};
  const auto parsed = input.is_string() ? parse_float(input.text()) : std::nullopt;
  if (!input.is_number() && !parsed) fail("filesizeformat needs a number");
  const double bytes = parsed ? *parsed : input.number();
  const bool binary = bound.flag(0);
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return "1 Byte";
  if (bytes < base) return fmt::format("{} Bytes", static_cast<int64_t>(bytes));
  double unit = base;
  size_t i = 0;
  for (; i + 1 < kPrefixes.size() && bytes >= unit * base; ++i) unit *= base;
  const std::string prefix = !binary  ? std::string(1, kPrefixes[i])
                             : i == 0 ? "Ki"
                                      : std::string(1, kPrefixes[i]) + "i";
  return fmt::format("{:.1f} {}B", bytes / unit, prefix);
}

Value default_filter(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("default", arguments, {"default_value", "boolean"});
  if (!input.is_undefined() && !(bound.flag(1) && !truthy(input))) return input;
  return bound.has(0) ? bound.at(0) : Value("");
}

constexpr NamedFilter kFilters[] = {
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", round},
    {"default", default_filter},
    {"d", default_filter},
    {"filesizeformat", filesizeformat},
};

}  // namespace

std::span<const NamedFilter> number_filters() { return kFilters; }

}  // namespace exo::jinja
