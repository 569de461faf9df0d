#include "api/openai_messages.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxTools = 256;
constexpr size_t kMaxToolBytes = 64 * 1024;
constexpr size_t kMaxNameBytes = 256;

Error bad_message(size_t index, std::string_view what) {
  return invalid_argument(fmt::format("'messages[{}]{}", index, what));
}

Result<std::string> read_role(const JsonObject& message, size_t index) {
  const Json* value = find_value(message, "role");
  if (value == nullptr || !value->is_string()) return bad_message(index, ".role' must be a string");
  const std::string role(value->get_string());
  if (role == "developer") return std::string("system");
  if (role == "function") return std::string("tool");
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  return bad_message(index, ".role' must be system, developer, user, assistant, tool or function");
}

Result<std::string> part_type(const Json& part, size_t index) {
  const JsonObject* object = part.if_object();
  const Json* type = object == nullptr ? nullptr : find_value(*object, "type");
  if (type == nullptr || !type->is_string())
    return bad_message(index, ".content' parts must be objects with a type");
  return std::string(type->get_string());
}

Result<std::string> part_text(const JsonObject& part, const std::string& type, size_t index) {
  const Json* value = find_value(part, type);
  if (value == nullptr || !value->is_string())
    return bad_message(index, ".content' has a text part without text");
  return std::string(value->get_string());
}

Json text_part(const std::string& text) { return JsonObject{{"type", "text"}, {"text", text}}; }

// Parts of text alone become one string, as most templates expect. Pictures leave a part
// {"type": "image"} where they stood.
Result<Json> read_parts(const JsonArray& parts, size_t index, std::vector<SentPicture>& pictures) {
  JsonArray out;
  std::string text;
  const size_t before = pictures.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string type = TRY(part_type(parts[i], index));
    const JsonObject& part = parts[i].get_object();
    if (type == "text" || type == "refusal") {
      const std::string said = TRY(part_text(part, type, index));
      text += (i == 0 ? "" : "\n") + said;
      out.push_back(text_part(said));
    } else if (type == "image_url") {
      pictures.push_back(
          TRY(read_image_part(part, fmt::format("messages[{}].content[{}]", index, i))));
      out.push_back(JsonObject{{"type", "image"}});
    } else {
      return unsupported(fmt::format(
          "'messages[{}].content' has a part of a type that is not read here: text and image_url "
          "are",
          index));
    }
    if (pictures.size() > kMaxImages)
      return invalid_argument(fmt::format("'messages' may hold {} pictures", kMaxImages));
  }
  return pictures.size() == before ? Json(text) : Json(std::move(out));
}

Result<Json> read_content(const JsonObject& message, const ChatMessage& read, size_t index,
                          std::vector<SentPicture>& pictures) {
  const Json* value = find_value(message, "content");
  if (value == nullptr) {
    if (read.extra.contains("tool_calls")) return Json(nullptr);
    if (read.role == "assistant") return Json("");
    return bad_message(index, ".content' is missing");
  }
  if (value->is_string()) return *value;
  if (value->is_array()) return read_parts(value->get_array(), index, pictures);
  return bad_message(index, ".content' must be a string or an array of parts");
}

// Templates written for Hugging Face expect arguments as an object, clients send them as text.
void open_arguments(JsonObject& function) {
  Json* arguments = find_value(function, "arguments");
  if (arguments == nullptr || !arguments->is_string()) return;
  const auto& text = arguments->get_string();
  auto parsed = parse_json({text.data(), text.size()});
  if (parsed.ok() && parsed->is_object()) *arguments = std::move(parsed).value();
}

Result<JsonArray> read_tool_calls(const JsonArray& calls, size_t index) {
  JsonArray out;
  for (const Json& call : calls) {
    const JsonObject* object = call.if_object();
    const Json* function = object == nullptr ? nullptr : find_value(*object, "function");
    const Json* name = function != nullptr && function->is_object()
                           ? find_value(function->get_object(), "name")
                           : nullptr;
    if (name == nullptr || !name->is_string())
      return bad_message(index, ".tool_calls' must be objects with a function and its name");
    JsonObject copy = *object;
    open_arguments(copy["function"].as_object());
    out.push_back(std::move(copy));
  }
  return out;
}

Result<ChatMessage> read_message(const Json& value, size_t index,
                                 std::vector<SentPicture>& pictures) {
  const JsonObject* message = value.if_object();
  if (message == nullptr) return bad_message(index, "' must be an object");
  ChatMessage out;
  out.role = TRY(read_role(*message, index));
  for (const std::string_view key : {"name", "tool_call_id", "reasoning_content", "reasoning"}) {
    const auto text = get_string(*message, key);
    if (!text.ok()) return bad_message(index, fmt::format(".{}' must be a string", key));
    if (*text) out.extra[key == "reasoning" ? "reasoning_content" : key] = **text;
  }
  const auto calls = get_array(*message, "tool_calls");
  if (!calls.ok()) return bad_message(index, ".tool_calls' must be an array");
  if (*calls != nullptr && !(*calls)->empty())
    out.extra["tool_calls"] = TRY(read_tool_calls(**calls, index));
  out.content = TRY(read_content(*message, out, index, pictures));
  return out;
}

Result<void> read_messages(const JsonObject& body, GenerationRequest& generation,
                           std::vector<SentPicture>& pictures) {
  const JsonArray* messages = TRY(get_array(body, "messages"));
  if (messages == nullptr) return invalid_argument("'messages' is missing");
  if (messages->empty()) return invalid_argument("'messages' must not be empty");
  if (messages->size() > kMaxMessages)
    return invalid_argument(fmt::format("'messages' may have {} entries", kMaxMessages));
  for (size_t i = 0; i < messages->size(); ++i)
    generation.messages.push_back(TRY(read_message((*messages)[i], i, pictures)));
  return {};
}

Result<void> check_tool(const Json& tool) {
  const JsonObject* object = tool.if_object();
  if (object == nullptr) return invalid_argument("'tools' must be objects");
  if (TRY(get_string(*object, "type")).value_or("") != "function")
    return unsupported("'tools' of a type other than function are not supported by this server");
  const JsonObject* function = TRY(get_object(*object, "function"));
  if (function == nullptr) return invalid_argument("'tools' must have a function");
  const auto name = TRY(get_string(*function, "name"));
  if (!name || name->empty() || name->size() > kMaxNameBytes)
    return invalid_argument("'tools' functions need a name of at most 256 bytes");
  if (to_text(tool).size() > kMaxToolBytes)
    return invalid_argument(fmt::format("'tools' entries may have {} bytes", kMaxToolBytes));
  return {};
}

// "auto" or "none"; forcing a call needs a grammar, which is not there yet.
Result<bool> tools_wanted(const JsonObject& body, std::string_view key) {
  const Json* choice = find_value(body, key);
  if (choice == nullptr) return true;
  if (choice->is_string() && choice->get_string() == "auto") return true;
  if (choice->is_string() && choice->get_string() == "none") return false;
  if (choice->is_object() || (choice->is_string() && choice->get_string() == "required"))
    return unsupported(
        fmt::format("'{}' that forces a call is not supported by this server yet; use \"auto\" or "
                    "\"none\"",
                    key));
  return invalid_argument(fmt::format("'{}' must be \"auto\" or \"none\"", key));
}

Result<void> read_tools(const JsonObject& body, GenerationRequest& generation) {
  const bool wanted =
      TRY(tools_wanted(body, "tool_choice")) && TRY(tools_wanted(body, "function_call"));
  const JsonArray* tools = TRY(get_array(body, "tools"));
  const JsonArray* functions = TRY(get_array(body, "functions"));
  const size_t count =
      (tools == nullptr ? 0 : tools->size()) + (functions == nullptr ? 0 : functions->size());
  if (count > kMaxTools)
    return invalid_argument(fmt::format("'tools' may have {} entries", kMaxTools));
  JsonArray all;
  if (tools != nullptr) all = *tools;
  if (functions != nullptr)
    for (const Json& function : *functions)
      all.push_back(JsonObject{{"type", "function"}, {"function", function}});
  for (const Json& tool : all) TRY(check_tool(tool));
  if (wanted) generation.tools = std::move(all);
  return {};
}

Result<void> read_template_arguments(const JsonObject& body, GenerationRequest& generation) {
  if (const JsonObject* kwargs = TRY(get_object(body, "chat_template_kwargs")))
    generation.template_kwargs = *kwargs;
  const auto thinking = TRY(get_bool(body, "enable_thinking"));
  if (thinking && !generation.template_kwargs.contains("enable_thinking"))
    generation.template_kwargs["enable_thinking"] = *thinking;
  if (const JsonArray* documents = TRY(get_array(body, "documents")))
    generation.template_kwargs["documents"] = *documents;
  const auto effort = TRY(get_string(body, "reasoning_effort"));
  if (effort && !generation.template_kwargs.contains("reasoning_effort"))
    generation.template_kwargs["reasoning_effort"] = *effort;
  generation.add_generation_prompt = TRY(get_bool(body, "add_generation_prompt")).value_or(true);
  return {};
}

}  // namespace

Result<void> read_chat(const JsonObject& body, GenerationRequest& generation,
                       std::vector<SentPicture>& pictures) {
  TRY(read_messages(body, generation, pictures));
  TRY(read_tools(body, generation));
  return read_template_arguments(body, generation);
}

}  // namespace exo
