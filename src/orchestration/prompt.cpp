#include "orchestration/prompt.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>

namespace exo {
namespace {

// Templates expect strings; clients may send the text in parts.
Result<Json> plain_content(const Json& content) {
  const JsonArray* parts = content.if_array();
  if (parts == nullptr) return content;
  std::string text;
  for (const Json& part : *parts) {
    const JsonObject* object = part.if_object();
    const Json* type = object != nullptr ? object->if_contains("type") : nullptr;
    const Json* said = object != nullptr ? object->if_contains("text") : nullptr;
    const bool is_text = type != nullptr && type->is_string() && type->get_string() == "text";
    if (!is_text || said == nullptr || !said->is_string())
      return unsupported("this model reads text only; send content parts of type \"text\"");
    if (!text.empty()) text += '\n';
    text += std::string_view(said->get_string());
  }
  return Json(text);
}

constexpr size_t kIdCharacters = 9;

// Conversations may come from another model, whose ids of calls this template would refuse.
void shorten_id(JsonObject& object, std::string_view key) {
  Json* id = object.if_contains(boost::json::string_view(key.data(), key.size()));
  if (id == nullptr || !id->is_string() || id->get_string().size() <= kIdCharacters) return;
  const std::string text(id->get_string());
  *id = text.substr(text.size() - kIdCharacters);
}

// What a message needs before this template reads it.
void adapt(const OutputSyntax& syntax, JsonObject& message) {
  const Json* thought = message.if_contains("reasoning_content");
  // gpt-oss calls it so, and refuses it beside the content of a message with calls.
  const bool silent = message["content"] == Json("") || message["content"].is_null();
  if (syntax.channels && thought != nullptr && (silent || !message.contains("tool_calls")))
    message["thinking"] = Json(*thought);
  if (!syntax.nine_character_ids) return;
  shorten_id(message, "tool_call_id");
  Json* calls = message.if_contains("tool_calls");
  if (calls == nullptr || !calls->is_array()) return;
  for (Json& call : calls->get_array())
    if (call.is_object()) shorten_id(call.get_object(), "id");
}

}  // namespace

Result<std::string> render_chat(const GenerationRequest& request, const LoadedTemplate& with,
                                const std::string& system_prompt, int64_t now_ms) {
  ChatTemplateInput input;
  JsonArray messages;
  const auto is_system = [](const ChatMessage& message) {
    return message.role == "system" || message.role == "developer";
  };
  if (!system_prompt.empty() &&
      std::none_of(request.messages.begin(), request.messages.end(), is_system))
    messages.push_back(JsonObject{{"role", "system"}, {"content", system_prompt}});
  for (const ChatMessage& message : request.messages) {
    JsonObject object{{"role", message.role}, {"content", TRY(plain_content(message.content))}};
    for (const auto& [key, value] : message.extra)
      if (key != "role" && key != "content") object[key] = value;
    adapt(with.syntax, object);
    messages.push_back(std::move(object));
  }
  input.messages = std::move(messages);
  if (!request.tools.empty()) input.tools = request.tools;
  input.add_generation_prompt = request.add_generation_prompt;
  input.bos_token = with.bos_token;
  input.eos_token = with.eos_token;
  input.kwargs = request.template_kwargs;
  input.now_ms = now_ms;
  return with.chat_template->render(input);
}

Error context_exceeded(int context_length, int prompt_tokens) {
  return resource_exhausted(
      fmt::format("This model's maximum context length is {} tokens. However, your messages "
                  "resulted in {} tokens. Please reduce the length of the messages.",
                  context_length, prompt_tokens));
}

int output_room(int asked, int default_max, int context_length, int prompt_tokens) {
  const int wanted = asked > 0 ? asked : default_max;
  return std::max(0, std::min(wanted, context_length - prompt_tokens));
}

}  // namespace exo
