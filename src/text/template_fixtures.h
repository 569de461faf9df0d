// The published chat templates and conversations of EXO_FIXTURES, for tests of this folder.
#pragma once

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/chat_template.h"
#include "text/test_fixtures.h"

namespace exo {

inline constexpr size_t kMaxFixtureBytes = size_t{64} << 20;

// The fixtures' frozen clock, 2025-03-09 14:05:07 local time.
inline int64_t fixture_now_ms() {
  std::tm moment{};
  moment.tm_year = 125;
  moment.tm_mon = 2;
  moment.tm_mday = 9;
  moment.tm_hour = 14;
  moment.tm_min = 5;
  moment.tm_sec = 7;
  moment.tm_isdst = -1;
  return static_cast<int64_t>(std::mktime(&moment)) * 1000;
}

inline std::filesystem::path template_fixtures() {
  const char* folder = std::getenv("EXO_FIXTURES");
  if (folder != nullptr) return std::filesystem::path(folder) / "templates";
  return std::filesystem::path(EXO_SOURCE_DIR) / "tests" / "golden" / "templates";
}

inline std::vector<JsonObject> json_lines(const std::string& text) {
  std::vector<JsonObject> out;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (!line.empty()) out.push_back(parse_json(line, 128).value().get_object());
  return out;
}

inline std::string text_of(const JsonObject& object, std::string_view key) {
  return get_string(object, key).value().value_or("");
}

inline ChatTemplateInput input_of(const JsonObject& conversation) {
  ChatTemplateInput input;
  input.messages = conversation.at("messages");
  if (const Json* tools = conversation.if_contains("tools")) input.tools = *tools;
  input.add_generation_prompt =
      get_bool(conversation, "add_generation_prompt").value().value_or(false);
  input.bos_token = "<|bos|>";
  input.eos_token = "<|eos|>";
  if (const auto* kwargs = get_object(conversation, "kwargs").value()) input.kwargs = *kwargs;
  input.now_ms = fixture_now_ms();
  return input;
}

inline bool have_template_fixtures() {
  return std::filesystem::exists(template_fixtures() / "templates.jsonl.gz");
}

// By name.
inline std::map<std::string, ChatTemplateInput> template_conversations() {
  std::map<std::string, ChatTemplateInput> inputs;
  const auto list =
      parse_json(read_file(template_fixtures() / "conversations.json", kMaxFixtureBytes).value())
          .value();
  for (const Json& conversation : list.get_array())
    inputs[text_of(conversation.get_object(), "name")] = input_of(conversation.get_object());
  return inputs;
}

inline std::map<std::string, std::string> published_templates() {
  std::map<std::string, std::string> templates;
  for (const JsonObject& entry : json_lines(gunzipped(template_fixtures() / "templates.jsonl.gz")))
    templates[text_of(entry, "name")] = text_of(entry, "template");
  return templates;
}

}  // namespace exo
