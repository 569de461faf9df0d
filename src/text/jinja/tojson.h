// JSON text as Python's json.dumps writes it, byte for byte: separators, float texts, escapes. What
// json.dumps refuses (Undefined, functions, generators) throws a Failure.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/value.h"

namespace exo::jinja {

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // absent: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace exo::jinja
