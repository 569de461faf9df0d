// Python's three ways to format: "%05d" % x, "{:>8}".format(x), and the format specification the
// latter uses. What Python refuses throws a Failure; widths are checked before text is made.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/object.h"

namespace exo::jinja {

Value percent_format(const Value& format, const Value& arguments, Budget& budget);
std::string brace_format(Runtime& runtime, std::string_view format, const Arguments& arguments);
// format(value, specification)
std::string format_value(const Value& value, std::string_view specification, Budget& budget);

// One number as %-conversions and specifications write it; shared by both.
struct NumberStyle {
  char type = 'd';  // d b o x X e E f F g G r(epr) %
  int precision = -1;
  bool alternate = false;
  char grouping = '\0';
};
std::string format_unsigned(const Value& magnitude, const NumberStyle& style);
// Pads by code points.
std::string pad(std::string text, size_t width, char align, std::string_view fill, Budget& budget);

}  // namespace exo::jinja
