// Small helpers for the readers of tokenizer.json's parts: each part is an object with a "type".
// Pure functions; failures name the key or the type that is wrong.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"

namespace exo {

// Parts may hold parts ("Sequence"); this many levels, and this many parts in one list.
inline constexpr int kMaxPartDepth = 8;
inline constexpr size_t kMaxParts = 64;
inline constexpr size_t kMaxJsonFileBytes = size_t{64} << 20;
// No step of ours makes a text longer than this; beyond it hostile ones are no longer followed, so
// that a file cannot make a short text fill the memory.
inline constexpr size_t kMaxGrowth = 16;
inline constexpr size_t max_grown_bytes(size_t bytes) { return bytes * kMaxGrowth + 4096; }

// The object in a JSON file, or an empty one where there is no file.
Result<JsonObject> read_object_file(const std::filesystem::path& path);

struct JsonPart {
  const JsonObject* object = nullptr;
  std::string type;
};
Result<JsonPart> read_part(const Json& value, std::string_view what);
// The list of a Sequence, under `key`.
Result<const JsonArray*> read_part_list(const JsonObject& object, std::string_view key, int depth);

Result<bool> bool_or(const JsonObject& object, std::string_view key, bool otherwise);
Result<std::string> string_or(const JsonObject& object, std::string_view key,
                              std::string_view otherwise);
Result<std::string> required_string(const JsonObject& object, std::string_view key);
// A string of exactly one character, or `otherwise` where the key is absent.
Result<char32_t> char_or(const JsonObject& object, std::string_view key, char32_t otherwise);

// {"String": text} or {"Regex": pattern}.
struct PatternText {
  std::string text;
  bool is_regex = false;
};
Result<PatternText> read_pattern(const JsonObject& object);

}  // namespace exo
