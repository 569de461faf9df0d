// JSON as every folder sees it: Boost.JSON values (objects keep their key order), parsed with
// limits. Getters return nullopt for an absent or null key and an Error naming the key for a wrong
// type.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo {

using Json = boost::json::value;
using JsonObject = boost::json::object;
using JsonArray = boost::json::array;

// Rejects text deeper than max_depth, trailing bytes, and invalid UTF-8.
Result<Json> parse_json(std::string_view text, size_t max_depth = 64);
std::string to_text(const Json& value);

// Borrowed; nullptr when absent or null.
const Json* find_value(const JsonObject& object, std::string_view key);
Json* find_value(JsonObject& object, std::string_view key);

Result<std::optional<int64_t>> get_int(const JsonObject& object, std::string_view key);
Result<std::optional<double>> get_number(const JsonObject& object, std::string_view key);
Result<std::optional<bool>> get_bool(const JsonObject& object, std::string_view key);
Result<std::optional<std::string>> get_string(const JsonObject& object, std::string_view key);
// Borrowed pointers into `object`; nullptr when absent or null.
Result<const JsonObject*> get_object(const JsonObject& object, std::string_view key);
Result<const JsonArray*> get_array(const JsonObject& object, std::string_view key);

}  // namespace exo
