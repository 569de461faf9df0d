#include "text/call_tags.h"

#include "text/literals.h"

namespace exo {
namespace {

constexpr std::string_view kDsml = "｜DSML｜";

enum class TagKind { open_call, close_call, open_parameter, close_parameter };

struct Tag {
  TagKind kind = TagKind::open_call;
  std::string_view name, attributes;
  size_t begin = 0, end = 0;  // in the text
};

struct TagWord {
  std::string_view word;
  TagKind kind;
};
constexpr TagWord kTagWords[] = {
    {"function=", TagKind::open_call},
    {"function name=", TagKind::open_call},
    {"invoke name=", TagKind::open_call},
    {"/function>", TagKind::close_call},
    {"/invoke>", TagKind::close_call},
    {"parameter=", TagKind::open_parameter},
    {"parameter name=", TagKind::open_parameter},
    {"param name=", TagKind::open_parameter},
    {"/parameter>", TagKind::close_parameter},
    {"/param>", TagKind::close_parameter},
};

// The tag that begins here, if it is one of ours.
std::optional<Tag> tag_at(std::string_view text, size_t begin) {
  size_t at = begin + 1;
  const bool closes = text.substr(at).starts_with('/');
  if (text.substr(at + closes).starts_with(kDsml)) at += closes + kDsml.size();
  for (const TagWord& known : kTagWords) {
    std::string_view word = known.word;
    if (closes != word.starts_with('/')) continue;
    if (closes && at > begin + 1) word.remove_prefix(1);  // the slash stands before the mark
    if (!text.substr(at).starts_with(word)) continue;
    const size_t end = text.find('>', at);
    if (end == std::string_view::npos) return std::nullopt;
    Tag tag{known.kind, "", "", begin, end + 1};
    if (closes) return tag;
    const std::string_view inside = text.substr(at + word.size(), end - at - word.size());
    const bool quoted = inside.starts_with('"');
    const size_t stop = quoted ? inside.find('"', 1) : inside.size();
    if (stop == std::string_view::npos) return std::nullopt;
    tag.name = trim(inside.substr(quoted, stop - quoted));
    tag.attributes = quoted ? inside.substr(stop + 1) : std::string_view();
    return tag;
  }
  return std::nullopt;
}

std::optional<Tag> next_tag(std::string_view text, size_t from) {
  for (size_t at = text.find('<', from); at != std::string_view::npos; at = text.find('<', at + 1))
    if (auto tag = tag_at(text, at)) return tag;
  return std::nullopt;
}

// Models put values on lines of their own; one line break on each side is not the value's.
std::string_view without_line_breaks(std::string_view value) {
  if (value.starts_with('\n')) value.remove_prefix(1);
  if (value.ends_with('\n')) value.remove_suffix(1);
  constexpr std::string_view kOpen = "<![CDATA[", kClose = "]]>";
  if (value.starts_with(kOpen) && value.ends_with(kClose))
    value = value.substr(kOpen.size(), value.size() - kOpen.size() - kClose.size());
  return value;
}

// Behind a parameter's opening tag. The closing tag may be forgotten before the next one.
std::optional<size_t> read_parameter(std::string_view text, const Tag& open, TaggedCall& call) {
  const auto close = next_tag(text, open.end);
  if (!close) return std::nullopt;
  TaggedCall::Parameter parameter{std::string(open.name), "", std::nullopt};
  parameter.value = without_line_breaks(text.substr(open.end, close->begin - open.end));
  if (open.attributes.find("string=\"true\"") != std::string_view::npos) parameter.is_string = true;
  if (open.attributes.find("string=\"false\"") != std::string_view::npos)
    parameter.is_string = false;
  call.parameters.push_back(std::move(parameter));
  return close->kind == TagKind::close_parameter ? close->end : close->begin;
}

// One call; `at` moves behind it. The last closing tag may be cut off by the mark that ended it.
std::optional<TaggedCall> read_call(std::string_view text, size_t& at) {
  const auto open = next_tag(text, at);
  if (!open || open->kind != TagKind::open_call || !trim(text.substr(at, open->begin - at)).empty())
    return std::nullopt;
  TaggedCall call{std::string(open->name), {}, ""};
  at = open->end;
  while (true) {
    const auto tag = next_tag(text, at);
    const size_t end = tag ? tag->begin : text.size();
    const std::string_view between = trim(text.substr(at, end - at));
    if (!between.empty()) {
      if (!between.starts_with('{') || !call.parameters.empty()) return std::nullopt;
      call.json_arguments = between;
    }
    if (!tag || tag->kind == TagKind::close_call) {
      at = tag ? tag->end : text.size();
      return call;
    }
    if (tag->kind != TagKind::open_parameter) return std::nullopt;
    const auto behind = read_parameter(text, *tag, call);
    if (!behind) return std::nullopt;
    at = *behind;
  }
}

// GLM's way: pairs of arg_key and arg_value behind the name.
std::optional<std::vector<TaggedCall>> read_key_value_call(std::string_view text) {
  constexpr std::string_view kKey = "<arg_key>", kKeyEnd = "</arg_key>";
  constexpr std::string_view kValue = "<arg_value>", kValueEnd = "</arg_value>";
  size_t at = text.find(kKey);
  TaggedCall call{std::string(trim(text.substr(0, at))), {}, ""};
  while (at < text.size()) {
    const size_t key = at + kKey.size();
    const size_t key_end = text.find(kKeyEnd, key);
    const size_t value = text.find(kValue, key);
    const size_t end = text.find(kValueEnd, key);
    if (!text.substr(at).starts_with(kKey) || key_end > value || value > end ||
        end == std::string_view::npos)
      return std::nullopt;
    TaggedCall::Parameter parameter;
    parameter.name = trim(text.substr(key, key_end - key));
    parameter.value = text.substr(value + kValue.size(), end - value - kValue.size());
    call.parameters.push_back(std::move(parameter));
    at = text.find_first_not_of(kSpace, end + kValueEnd.size());
  }
  return std::vector<TaggedCall>{std::move(call)};
}

bool is_type(const Json& type, std::string_view wanted) {
  return type.is_string() && std::string_view(type.get_string()) == wanted;
}

// Does the schema want a string where this value could be read as something else?
bool wants_string(const JsonObject& schema, std::string_view value) {
  const Json* type = schema.if_contains("type");
  if (type == nullptr) return schema.contains("enum");
  if (!type->is_array()) return is_type(*type, "string");
  bool string = false, null = false;
  for (const Json& one : type->get_array()) {
    string = string || is_type(one, "string");
    null = null || is_type(one, "null");
  }
  return string && !(null && (value == "null" || value == "None"));
}

const JsonObject* member(const JsonObject* object, std::string_view key) {
  const Json* found = object == nullptr ? nullptr : find_value(*object, key);
  return found == nullptr ? nullptr : found->if_object();
}

}  // namespace

bool has_call_tags(std::string_view text) {
  return text.find("<arg_key>") != std::string_view::npos || next_tag(text, 0);
}

std::optional<std::vector<TaggedCall>> read_call_tags(std::string_view text) {
  if (!next_tag(text, 0)) return read_key_value_call(text);
  std::vector<TaggedCall> calls;
  for (size_t at = 0; !trim(text.substr(at)).empty();) {
    auto call = read_call(text, at);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
  }
  return calls;
}

std::string_view tool_name(const Json& tool) {
  const JsonObject* function = member(tool.if_object(), "function");
  const Json* name = function == nullptr ? nullptr : find_value(*function, "name");
  if (name == nullptr || !name->is_string()) return {};
  return {name->get_string().data(), name->get_string().size()};
}

const JsonObject* parameter_schema(const JsonArray& tools, std::string_view function,
                                   std::string_view parameter) {
  for (const Json& tool : tools) {
    if (tool_name(tool) != function) continue;
    const JsonObject* at = member(tool.if_object(), "function");
    for (const std::string_view key :
         {std::string_view("parameters"), std::string_view("properties"), parameter})
      at = member(at, key);
    return at;
  }
  return nullptr;
}

std::string parameter_json(const TaggedCall::Parameter& parameter, const JsonObject* schema) {
  const bool string = parameter.is_string.value_or(schema != nullptr &&
                                                   wants_string(*schema, trim(parameter.value)));
  if (!string)
    if (auto json = literal_to_json(parameter.value)) return *std::move(json);
  return to_text(Json(parameter.value));
}

}  // namespace exo
