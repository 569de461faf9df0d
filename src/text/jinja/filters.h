// The filters behind "|", in three tables. A filter gets its input and its arguments; what it
// returns is paid for by whoever calls it.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace exo::jinja {

struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};
std::span<const NamedFilter> string_filters();
std::span<const NamedFilter> number_filters();
std::span<const NamedFilter> sequence_filters();
std::span<const NamedFilter> selecting_filters();

// Looks up "a.b.0" in an item, as attribute= does.
class AttributePath {
 public:
  AttributePath(const Value& path, Budget& budget);
  Value get(Runtime& runtime, const Value& item) const;

 private:
  std::vector<Value> parts_;
};
// Texts without their case, for filters that ignore it.
Value ignore_case(const Value& value, Budget& budget);

}  // namespace exo::jinja
