#include "text/json_parts.h"

#include <fmt/core.h>

#include "base/file.h"
#include "text/unicode.h"

namespace exo {

Result<JsonObject> read_object_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return JsonObject();
  auto json = parse_json(TRY(read_file(path, kMaxJsonFileBytes)));
  if (!json.ok()) return json.error().in(path.string());
  if (!json->is_object()) return corrupt(path.string() + " must hold a JSON object");
  return std::move(json->get_object());
}

Result<JsonPart> read_part(const Json& value, std::string_view what) {
  if (!value.is_object()) return corrupt(fmt::format("a {} must be an object", what));
  const auto type = TRY(get_string(value.get_object(), "type"));
  if (!type) return corrupt(fmt::format("a {} has no 'type'", what));
  return JsonPart{&value.get_object(), *type};
}

Result<const JsonArray*> read_part_list(const JsonObject& object, std::string_view key, int depth) {
  const JsonArray* list = TRY(get_array(object, key));
  if (list == nullptr) return corrupt(fmt::format("a Sequence has no '{}'", key));
  if (depth >= kMaxPartDepth || list->size() > kMaxParts) {
    return unsupported(fmt::format("'{}' is nested deeper than {} or longer than {}", key,
                                   kMaxPartDepth, kMaxParts));
  }
  return list;
}

Result<bool> bool_or(const JsonObject& object, std::string_view key, bool otherwise) {
  return TRY(get_bool(object, key)).value_or(otherwise);
}

Result<std::string> string_or(const JsonObject& object, std::string_view key,
                              std::string_view otherwise) {
  return TRY(get_string(object, key)).value_or(std::string(otherwise));
}

Result<std::string> required_string(const JsonObject& object, std::string_view key) {
  auto text = TRY(get_string(object, key));
  if (!text) return corrupt(fmt::format("'{}' is missing", key));
  return std::move(*text);
}

Result<char32_t> char_or(const JsonObject& object, std::string_view key, char32_t otherwise) {
  const auto text = TRY(get_string(object, key));
  if (!text) return otherwise;
  size_t position = 0;
  const char32_t character = text->empty() ? 0 : next_char(*text, position);
  if (text->empty() || position != text->size())
    return corrupt(fmt::format("'{}' must be one character", key));
  return character;
}

Result<PatternText> read_pattern(const JsonObject& object) {
  const JsonObject* pattern = TRY(get_object(object, "pattern"));
  if (pattern == nullptr) return corrupt("'pattern' is missing");
  if (auto text = TRY(get_string(*pattern, "String"))) return PatternText{*text, false};
  if (auto text = TRY(get_string(*pattern, "Regex"))) return PatternText{*text, true};
  return corrupt("'pattern' must hold a 'String' or a 'Regex'");
}

}  // namespace exo
