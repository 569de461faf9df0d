#include "core/json.h"

#include <fmt/core.h>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <utility>

namespace exo {
namespace {

Error wrong_type(std::string_view key, std::string_view expected, const Json& value) {
  const auto kind = boost::json::to_string(value.kind());
  return invalid_argument(fmt::format("'{}' must be {}, not {}", key, expected,
                                      std::string_view(kind.data(), kind.size())));
}

// Builds the value, as boost::json::parser does, but for numbers: its own reading of decimals may
// be off by one in the last place, and texts are compared byte by byte.
struct JsonBuilder {
  static constexpr size_t max_object_size = boost::json::object::max_size();
  static constexpr size_t max_array_size = boost::json::array::max_size();
  static constexpr size_t max_key_size = boost::json::string::max_size();
  static constexpr size_t max_string_size = boost::json::string::max_size();
  using View = boost::json::string_view;
  using Error = boost::json::error_code;

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) { return true; }
  bool on_object_end(size_t count, Error&) { return stack.push_object(count), true; }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t count, Error&) { return stack.push_array(count), true; }
  bool on_key_part(View part, size_t, Error&) { return stack.push_chars(part), true; }
  bool on_key(View rest, size_t, Error&) { return stack.push_key(rest), true; }
  bool on_string_part(View part, size_t, Error&) { return stack.push_chars(part), true; }
  bool on_string(View rest, size_t, Error&) { return stack.push_string(rest), true; }
  bool on_number_part(View, Error&) { return true; }
  bool on_int64(int64_t value, View, Error&) { return stack.push_int64(value), true; }
  bool on_uint64(uint64_t value, View, Error&) { return stack.push_uint64(value), true; }
  bool on_double(double value, View text, Error&) {
    double exact = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), exact);
    const bool whole = read.ec == std::errc() && read.ptr == text.data() + text.size();
    return stack.push_double(whole ? exact : value), true;  // else out of range: 0 or infinite
  }
  bool on_bool(bool value, Error&) { return stack.push_bool(value), true; }
  bool on_null(Error&) { return stack.push_null(), true; }
  bool on_comment_part(View, Error&) { return true; }
  bool on_comment(View, Error&) { return true; }

  boost::json::value_stack stack;
};

}  // namespace

Result<Json> parse_json(std::string_view text, size_t max_depth) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::error_code error;
  boost::json::basic_parser<JsonBuilder> parser(options);
  parser.handler().stack.reset();
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && text.find_first_not_of(" \t\r\n", used) != std::string_view::npos)
    error = boost::json::error::extra_data;
  if (error) return corrupt(fmt::format("not valid JSON near byte {}: {}", used, error.message()));
  return parser.handler().stack.release();
}

std::string to_text(const Json& value) { return boost::json::serialize(value); }

const Json* find_value(const JsonObject& object, std::string_view key) {
  const Json* found = object.if_contains(boost::json::string_view(key.data(), key.size()));
  return found == nullptr || found->is_null() ? nullptr : found;
}
Json* find_value(JsonObject& object, std::string_view key) {
  return const_cast<Json*>(find_value(std::as_const(object), key));
}

Result<std::optional<int64_t>> get_int(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return std::optional<int64_t>();
  boost::json::error_code error;
  const auto number = value->is_number() ? value->to_number<int64_t>(error) : 0;
  if (!value->is_number() || error) return wrong_type(key, "a whole number", *value);
  return std::optional<int64_t>(number);
}

Result<std::optional<double>> get_number(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return wrong_type(key, "a number", *value);
  return std::optional<double>(value->to_number<double>());
}

Result<std::optional<bool>> get_bool(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_bool()) return wrong_type(key, "true or false", *value);
  return std::optional<bool>(value->get_bool());
}

Result<std::optional<std::string>> get_string(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return wrong_type(key, "a string", *value);
  return std::optional<std::string>(std::string(value->get_string()));
}

Result<const JsonObject*> get_object(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return static_cast<const JsonObject*>(nullptr);
  if (!value->is_object()) return wrong_type(key, "an object", *value);
  return &value->get_object();
}

Result<const JsonArray*> get_array(const JsonObject& object, std::string_view key) {
  const Json* value = find_value(object, key);
  if (value == nullptr) return static_cast<const JsonArray*>(nullptr);
  if (!value->is_array()) return wrong_type(key, "an array", *value);
  return &value->get_array();
}

}  // namespace exo
