// The getters of core/json.h for answers of our own API: absent or odd fields read as empty, as
// they are only shown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/json.h"

namespace exo {

inline std::string text_of(const JsonObject& object, std::string_view key) {
  const auto value = get_string(object, key);
  return value.ok() ? value->value_or("") : "";
}
inline double number_of(const JsonObject& object, std::string_view key) {
  const auto value = get_number(object, key);
  return value.ok() ? value->value_or(0) : 0;
}
inline bool flag_of(const JsonObject& object, std::string_view key) {
  const auto value = get_bool(object, key);
  return value.ok() && value->value_or(false);
}
inline const JsonArray& list_of(const JsonObject& object, std::string_view key) {
  static const JsonArray empty;
  const auto value = get_array(object, key);
  return value.ok() && *value != nullptr ? **value : empty;
}
inline uint64_t bytes_of(const JsonObject& object, std::string_view key) {
  return static_cast<uint64_t>(number_of(object, key));
}

}  // namespace exo
