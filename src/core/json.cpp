#include "core/json.h"

#include <fmt/core.h>

namespace exo {
namespace {

const Json* find(const JsonObject& object, std::string_view key) {
  const Json* found = object.if_contains(boost::json::string_view(key.data(), key.size()));
  return found == nullptr || found->is_null() ? nullptr : found;
}

Error wrong_type(std::string_view key, std::string_view expected, const Json& value) {
  const auto kind = boost::json::to_string(value.kind());
  return invalid_argument(fmt::format("'{}' must be {}, not {}", key, expected,
                                      std::string_view(kind.data(), kind.size())));
}

}  // namespace

Result<Json> parse_json(std::string_view text, size_t max_depth) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::error_code error;
  boost::json::stream_parser parser({}, options);
  size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  if (!error && text.find_first_not_of(" \t\r\n", used) != std::string_view::npos)
    error = boost::json::error::extra_data;
  if (error) return corrupt(fmt::format("not valid JSON near byte {}: {}", used, error.message()));
  return parser.release();
}

std::string to_text(const Json& value) { return boost::json::serialize(value); }

Result<std::optional<int64_t>> get_int(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return std::optional<int64_t>();
  boost::json::error_code error;
  const auto number = value->is_number() ? value->to_number<int64_t>(error) : 0;
  if (!value->is_number() || error) return wrong_type(key, "a whole number", *value);
  return std::optional<int64_t>(number);
}

Result<std::optional<double>> get_number(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return wrong_type(key, "a number", *value);
  return std::optional<double>(value->to_number<double>());
}

Result<std::optional<bool>> get_bool(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_bool()) return wrong_type(key, "true or false", *value);
  return std::optional<bool>(value->get_bool());
}

Result<std::optional<std::string>> get_string(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return wrong_type(key, "a string", *value);
  return std::optional<std::string>(std::string(value->get_string()));
}

Result<const JsonObject*> get_object(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return static_cast<const JsonObject*>(nullptr);
  if (!value->is_object()) return wrong_type(key, "an object", *value);
  return &value->get_object();
}

Result<const JsonArray*> get_array(const JsonObject& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr) return static_cast<const JsonArray*>(nullptr);
  if (!value->is_array()) return wrong_type(key, "an array", *value);
  return &value->get_array();
}

}  // namespace exo
