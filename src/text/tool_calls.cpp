#include "text/tool_calls.h"

#include <algorithm>
#include <utility>

#include "text/call_tags.h"
#include "text/literals.h"

namespace exo {
namespace {

using Calls = std::optional<std::vector<ToolCall>>;

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxIdBytes = 64;

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         name.find_first_of(" \t\r\n<>{}[]()\"'`,;=") == std::string_view::npos;
}

// What stands between the commas of a JSON object or array, as it is written. The text is known to
// be valid JSON.
std::vector<std::string_view> parts_of(std::string_view json) {
  std::vector<std::string_view> parts;
  size_t begin = 1;
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == '{' || c == '[') ++depth;
    const bool ends = depth == 1 && (c == ',' || c == '}' || c == ']');
    if (c == '}' || c == ']') --depth;
    if (!ends) continue;
    parts.push_back(trim(json.substr(begin, i - begin)));
    begin = i + 1;
  }
  return parts;
}

std::string string_value(std::string_view value) {
  const auto parsed = parse_json(value);
  return parsed.ok() && parsed->is_string() ? std::string(parsed->get_string()) : std::string();
}

struct Member {
  std::string key;
  std::string_view value;
};
std::vector<Member> members_of(std::string_view object) {
  std::vector<Member> members;
  for (const std::string_view part : parts_of(object)) {
    size_t end = 1;  // of the key
    while (end < part.size() && part[end] != '"') end += part[end] == '\\' ? 2 : 1;
    const size_t colon = part.find(':', end);
    if (colon == std::string_view::npos) continue;  // of an empty object
    members.push_back({string_value(part.substr(0, end + 1)), trim(part.substr(colon + 1))});
  }
  return members;
}

// Arguments are an object, or the text of one in a string, or not there.
std::optional<std::string> read_arguments(std::string_view value) {
  if (value.empty() || value == "null") return "{}";
  if (value.front() == '{') return std::string(value);
  const auto text = parse_json(value);
  if (!text.ok() || !text->is_string()) return std::nullopt;
  const std::string inner(text->get_string());
  if (trim(inner).empty()) return "{}";
  const auto object = parse_json(inner);
  if (!object.ok() || !object->is_object()) return std::nullopt;
  return inner;
}

// {"name", "arguments"} under any of the names models use, or {NAME: arguments}.
std::optional<ToolCall> read_json_call(std::string_view object, const JsonArray& tools) {
  ToolCall call;
  std::string_view arguments;
  const std::vector<Member> all = members_of(object);
  for (const Member& member : all) {
    const bool names = member.key == "name" || member.key == "tool_name";
    if (member.key == "function" && member.value.starts_with('{')) {
      auto inner = read_json_call(member.value, tools);
      if (!inner) return std::nullopt;
      call.name = std::move(inner->name);
      call.arguments = std::move(inner->arguments);
    } else if (names || member.key == "function") {
      call.name = string_value(member.value);
    } else if (member.key == "arguments" || member.key == "parameters") {
      arguments = member.value;
    } else if (member.key == "id") {
      call.id = string_value(member.value);
    }
  }
  if (call.name.empty() && all.size() == 1 && has_tool(tools, all.front().key)) {
    call.name = all.front().key;
    arguments = all.front().value;
  }
  if (call.id.size() > kMaxIdBytes) call.id.clear();
  if (call.arguments.empty()) {
    auto read = read_arguments(arguments);
    if (!read) return std::nullopt;
    call.arguments = *std::move(read);
  }
  if (!is_name(call.name)) return std::nullopt;
  return call;
}

Calls read_json_calls(std::string_view text, const JsonArray& tools) {
  if (!parse_json(text).ok()) return std::nullopt;
  std::vector<std::string_view> objects{text};
  if (text.front() == '[') objects = parts_of(text);
  std::vector<ToolCall> calls;
  for (const std::string_view object : objects) {
    if (!object.starts_with('{')) return std::nullopt;
    auto call = read_json_call(object, tools);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
  }
  return calls;
}

// f(x=1); None for what is no call.
std::optional<ToolCall> read_python_call(LiteralReader& reader) {
  auto name = reader.name();
  if (!name || !is_name(*name) || !reader.take('(')) return std::nullopt;
  ToolCall call{"", *std::move(name), "{"};
  for (bool first = true; !reader.take(')'); first = false) {
    if (!first && !reader.take(',')) return std::nullopt;
    if (!first && reader.take(')')) break;
    const auto key = reader.name();
    if (!key || !reader.take('=')) return std::nullopt;
    if (!first) call.arguments += ", ";
    call.arguments += to_text(Json(*key)) + ": ";
    if (!reader.value(call.arguments)) return std::nullopt;
  }
  call.arguments += '}';
  return call;
}

Calls read_python_list(std::string_view text) {
  LiteralReader reader(text);
  std::vector<ToolCall> calls;
  if (!reader.take('[')) return std::nullopt;
  while (!reader.take(']')) {
    if (!calls.empty() && !reader.take(',')) return std::nullopt;
    auto call = read_python_call(reader);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
  }
  if (calls.empty() || !reader.at_end()) return std::nullopt;
  return calls;
}

// Llama 3's built-in tools: brave_search.call(query="x").
Calls read_python_method(std::string_view text) {
  LiteralReader reader(text);
  auto call = read_python_call(reader);
  if (!call || !reader.at_end()) return std::nullopt;
  constexpr std::string_view kMethod = ".call";
  if (call->name.ends_with(kMethod)) call->name.resize(call->name.size() - kMethod.size());
  return std::vector<ToolCall>{*std::move(call)};
}

// Gemma: call:NAME{key:value}.
Calls read_gemma_call(std::string_view text) {
  LiteralReader reader(text.substr(std::string_view("call:").size()));
  auto name = reader.name();
  ToolCall call{"", name.value_or(""), ""};
  if (!name || !is_name(*name) || !reader.rest().starts_with('{') ||
      !reader.value(call.arguments) || !reader.at_end())
    return std::nullopt;
  return std::vector<ToolCall>{std::move(call)};
}

// What stands before the arguments: "NAME[CALL_ID]ID[ARGS]", "NAME<｜tool▁sep｜>",
// "function<｜tool▁sep｜>NAME\n```json", "functions.NAME:0<|tool_call_argument_begin|>".
ToolCall read_head(std::string_view head) {
  ToolCall call;
  for (const std::string_view mark : {"[ARGS]", "<|tool_call_argument_begin|>"})
    if (head.ends_with(mark)) head = trim(head.substr(0, head.size() - mark.size()));
  constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
  if (const size_t at = head.find(kSeparator); at != std::string_view::npos) {
    const std::string_view behind = trim(head.substr(at + kSeparator.size()));
    head = behind.empty() ? trim(head.substr(0, at)) : trim(behind.substr(0, behind.find('\n')));
  }
  constexpr std::string_view kCallId = "[CALL_ID]";
  if (const size_t at = head.find(kCallId); at != std::string_view::npos) {
    call.id = trim(head.substr(at + kCallId.size()));
    head = trim(head.substr(0, at));
  }
  constexpr std::string_view kNamespace = "functions.";
  if (head.starts_with(kNamespace)) {
    if (head.find(':') != std::string_view::npos) call.id = head;
    head = head.substr(kNamespace.size());
    head = head.substr(0, head.find(':'));
  }
  if (call.id.size() > kMaxIdBytes) call.id.clear();
  call.name = head;
  return call;
}

Calls read_named_call(std::string_view text, const JsonArray& tools) {
  const size_t brace = text.find('{');
  ToolCall call = read_head(trim(text.substr(0, brace)));
  if (!is_name(call.name)) return std::nullopt;
  call.arguments = "{}";
  if (brace == std::string_view::npos) {
    if (!has_tool(tools, call.name)) return std::nullopt;
    return std::vector<ToolCall>{std::move(call)};
  }
  const size_t last = text.rfind('}');
  if (last == std::string_view::npos || last < brace) return std::nullopt;
  const std::string_view tail = trim(text.substr(last + 1));
  if (!tail.empty() && tail != "```") return std::nullopt;
  call.arguments = text.substr(brace, last + 1 - brace);
  const auto parsed = parse_json(call.arguments);
  if (!parsed.ok() || !parsed->is_object()) return std::nullopt;
  return std::vector<ToolCall>{std::move(call)};
}

// Of a form whose parameters are typed by the tool's schema.
Calls read_tagged_calls(std::string_view text, const JsonArray& tools) {
  auto tagged = read_call_tags(text);
  if (!tagged) return std::nullopt;
  std::vector<ToolCall> calls;
  for (TaggedCall& read : *tagged) {
    if (!is_name(read.name)) return std::nullopt;
    ToolCall call{"", std::move(read.name), "{"};
    for (const TaggedCall::Parameter& parameter : read.parameters) {
      if (call.arguments.size() > 1) call.arguments += ", ";
      call.arguments +=
          to_text(Json(parameter.name)) + ": " +
          parameter_json(parameter, parameter_schema(tools, call.name, parameter.name));
    }
    call.arguments += '}';
    if (!read.json_arguments.empty()) call.arguments = std::move(read.json_arguments);
    const auto parsed = parse_json(call.arguments);
    if (!parsed.ok() || !parsed->is_object()) return std::nullopt;
    calls.push_back(std::move(call));
  }
  return calls;
}

}  // namespace

bool has_tool(const JsonArray& tools, std::string_view name) {
  return std::any_of(tools.begin(), tools.end(),
                     [&](const Json& tool) { return tool_name(tool) == name; });
}

std::optional<std::vector<ToolCall>> read_tool_calls(std::string_view text,
                                                     const JsonArray& tools) {
  text = trim(text);
  if (text.empty()) return std::nullopt;
  if (text.starts_with("call:")) return read_gemma_call(text);
  if (text.front() == '{') return read_json_calls(text, tools);
  if (text.front() == '[') {
    const std::string_view inside = trim(text.substr(1));
    return inside.starts_with('{') ? read_json_calls(text, tools) : read_python_list(text);
  }
  if (has_call_tags(text)) return read_tagged_calls(text, tools);
  if (auto call = read_named_call(text, tools)) return call;
  return read_python_method(text);
}

}  // namespace exo
