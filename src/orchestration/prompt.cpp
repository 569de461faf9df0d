#include "orchestration/prompt.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>

namespace exo {
namespace {

bool is_image(const Json& part) {
  const JsonObject* object = part.if_object();
  const Json* type = object != nullptr ? find_value(*object, "type") : nullptr;
  return type != nullptr && type->is_string() && type->get_string() == "image";
}

bool has_image(const Json& content) {
  const JsonArray* parts = content.if_array();
  return parts != nullptr && std::any_of(parts->begin(), parts->end(), is_image);
}

// Most templates expect strings. A picture is then its token on a line of its own, before the text
// that it came with, as LLaVA was trained.
Result<Json> as_text(const Json& content, const std::string& image_token) {
  const JsonArray* parts = content.if_array();
  if (parts == nullptr) return content;
  std::string images, text;
  for (const Json& part : *parts) {
    if (is_image(part)) {
      images += image_token + '\n';
      continue;
    }
    const JsonObject* object = part.if_object();
    const Json* said = object != nullptr ? find_value(*object, "text") : nullptr;
    if (said == nullptr || !said->is_string())
      return unsupported("a message is made of parts of type \"text\" and pictures");
    if (!text.empty()) text += '\n';
    text += std::string_view(said->get_string());
  }
  return Json(images + text);
}

Json as_parts(const Json& content) {
  if (!content.is_string()) return content;
  return JsonArray{JsonObject{{"type", "text"}, {"text", content}}};
}

// In which forms a template reads the content of a message.
struct Forms {
  bool text = true;
  bool parts = false;
};

// Found out by trying. What a template prints as a list or a dictionary it has not read.
bool reads(const LoadedTemplate& with, Json content, const std::string& image_token) {
  ChatTemplateInput input;
  input.messages = JsonArray{JsonObject{{"role", "user"}, {"content", std::move(content)}}};
  input.bos_token = with.bos_token;
  input.eos_token = with.eos_token;
  const Result<std::string> rendered = with.chat_template->render(input);
  const auto says = [&](std::string_view what) {
    return rendered->find(what) != std::string::npos;
  };
  return rendered.ok() && says("a word") && says(image_token) && !says("'type'") &&
         !says("\"type\"");
}

Forms forms_of(const LoadedTemplate& with, const std::string& image_token) {
  if (image_token.empty()) return {};  // a text model's template
  const JsonArray parts = {JsonObject{{"type", "image"}},
                           JsonObject{{"type", "text"}, {"text", "a word"}}};
  return {reads(with, "a word", ""), reads(with, parts, image_token)};
}

// Lists of parts where there is a picture, and everywhere for templates that read nothing else.
Result<Json> readable(const Json& content, const Forms& forms, const std::string& image_token) {
  if (forms.parts && (has_image(content) || !forms.text)) return as_parts(content);
  return as_text(content, image_token);
}

constexpr size_t kIdCharacters = 9;

// Conversations may come from another model, whose ids of calls this template would refuse.
void shorten_id(JsonObject& object, std::string_view key) {
  Json* id = find_value(object, key);
  if (id == nullptr || !id->is_string() || id->get_string().size() <= kIdCharacters) return;
  const std::string text(id->get_string());
  *id = text.substr(text.size() - kIdCharacters);
}

// What a message needs before this template reads it.
void adapt(const OutputSyntax& syntax, JsonObject& message) {
  // gpt-oss calls it so, and refuses it beside the content of a message with calls.
  const bool silent = message["content"] == Json("") || message["content"].is_null();
  if (syntax.channels && message.contains("reasoning_content") &&
      (silent || !message.contains("tool_calls"))) {
    Json thought = message.at("reasoning_content");  // a copy: the object grows
    message["thinking"] = std::move(thought);
  }
  if (!syntax.nine_character_ids) return;
  shorten_id(message, "tool_call_id");
  Json* calls = find_value(message, "tool_calls");
  if (calls == nullptr || !calls->is_array()) return;
  for (Json& call : calls->get_array())
    if (call.is_object()) shorten_id(call.get_object(), "id");
}

}  // namespace

Result<std::string> render_chat(const GenerationRequest& request, const LoadedTemplate& with,
                                const RenderOptions& options) {
  const Forms forms = forms_of(with, options.image_token);
  ChatTemplateInput input;
  JsonArray messages;
  const auto is_system = [](const ChatMessage& message) {
    return message.role == "system" || message.role == "developer";
  };
  std::vector<ChatMessage> said = request.messages;
  if (!options.system_prompt.empty() && std::none_of(said.begin(), said.end(), is_system))
    said.insert(said.begin(), ChatMessage{"system", Json(options.system_prompt), {}});
  for (const ChatMessage& message : said) {
    JsonObject object{{"role", message.role}};
    object["content"] = TRY(readable(message.content, forms, options.image_token));
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
  input.now_ms = options.now_ms;
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
