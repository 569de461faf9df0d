// String and number literals inside tags. Pure; throws a Failure for what Python would refuse.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace exo::jinja {

// What stands between the quotes, with the escapes of Python's string literals replaced.
std::string unescape_string(std::string_view body, int line);

struct NumberLiteral {
  Value value;
  size_t size_bytes = 0;
};
// The number at the front of the text, which starts with a digit.
NumberLiteral scan_number(std::string_view text, bool may_be_float);

}  // namespace exo::jinja
