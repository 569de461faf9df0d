#include "text/chat_template.h"

#include <fmt/core.h>

#include <system_error>

#include "base/file.h"
#include "text/jinja/template.h"

namespace exo {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
constexpr std::string_view kToolTemplate = "tool_use";

class JinjaChatTemplate : public ChatTemplate {
 public:
  explicit JinjaChatTemplate(jinja::Template parsed) : template_(std::move(parsed)) {}

  Result<std::string> render(const ChatTemplateInput& input) const override {
    JsonObject variables;
    variables["messages"] = input.messages;
    variables["tools"] = input.tools;
    variables["documents"] = input.documents;
    variables["add_generation_prompt"] = input.add_generation_prompt;
    variables["bos_token"] = input.bos_token;
    variables["eos_token"] = input.eos_token;
    for (const auto& entry : input.kwargs) variables[entry.key()] = entry.value();
    return template_.render(variables, input.now_ms);
  }

 private:
  jinja::Template template_;
};

// An absent file is nullopt, a broken one an error.
Result<std::optional<std::string>> read_optional(const std::filesystem::path& path, size_t limit) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::optional<std::string>();
  return std::optional<std::string>(TRY(read_file(path, limit)));
}

Result<std::optional<JsonObject>> read_config(const std::filesystem::path& path) {
  const auto text = TRY(read_optional(path, kMaxConfigBytes));
  if (!text) return std::optional<JsonObject>();
  auto json = parse_json(*text);
  if (!json.ok()) return json.error().in(path.string());
  if (!json->is_object()) return corrupt(path.string() + ": expected a JSON object");
  return std::optional<JsonObject>(std::move(json->get_object()));
}

// "<s>", {"content": "<s>", ...} or null.
Result<std::string> token_text(const JsonObject& config, std::string_view key) {
  const Json* value = find_value(config, key);
  if (value == nullptr) return std::string();
  if (value->is_string()) return std::string(value->get_string());
  if (value->is_object()) {
    const auto content = TRY(get_string(value->get_object(), "content"));
    return content.value_or("");
  }
  return corrupt(fmt::format("'{}' must be a string or an object with 'content'", key));
}

struct NamedTemplates {
  std::optional<std::string> standard, tool_use;

  void add(std::string_view name, std::string text) {
    if (name == kToolTemplate) tool_use = std::move(text);
    if (name == "default") standard = std::move(text);
  }
  std::optional<std::string> choose(bool with_tools) const {
    return (with_tools && tool_use) || !standard ? tool_use : standard;
  }
};

// "chat_template" is one template, or a list of {"name", "template"}.
Result<void> add_from_config(const JsonObject& config, NamedTemplates& out) {
  const Json* value = find_value(config, "chat_template");
  if (value == nullptr) return {};
  if (value->is_string()) {
    out.add("default", std::string(value->get_string()));
    return {};
  }
  if (!value->is_array()) return corrupt("'chat_template' must be a string or a list of templates");
  for (const Json& entry : value->get_array()) {
    if (!entry.is_object()) return corrupt("'chat_template' must list objects");
    const auto name = TRY(get_string(entry.get_object(), "name"));
    auto text = TRY(get_string(entry.get_object(), "template"));
    if (!name || !text) return corrupt("'chat_template' lists an entry without name or template");
    out.add(*name, *std::move(text));
  }
  return {};
}

Result<void> add_from_json_file(const std::filesystem::path& path, NamedTemplates& out) {
  const auto config = TRY(read_config(path));
  if (!config) return {};
  const auto added = add_from_config(*config, out);
  if (!added.ok()) return added.error().in(path.string());
  return {};
}

// The .jinja files win over what the JSON files say, as in transformers.
Result<void> add_from_jinja_files(const std::filesystem::path& folder, NamedTemplates& out) {
  auto standard = TRY(read_optional(folder / "chat_template.jinja", kMaxTemplateBytes));
  if (standard) out.add("default", *std::move(standard));
  const auto extra = folder / "additional_chat_templates" / (std::string(kToolTemplate) + ".jinja");
  auto tools = TRY(read_optional(extra, kMaxTemplateBytes));
  if (tools) out.add(kToolTemplate, *std::move(tools));
  return {};
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source) {
  auto parsed = TRY(jinja::Template::parse(source));
  return std::shared_ptr<const ChatTemplate>(
      std::make_shared<JinjaChatTemplate>(std::move(parsed)));
}

Result<std::optional<ChatTemplateSource>> find_chat_template(const std::filesystem::path& folder,
                                                             bool with_tools) {
  ChatTemplateSource source;
  NamedTemplates templates;
  const auto config_path = folder / "tokenizer_config.json";
  if (const auto config = TRY(read_config(config_path))) {
    const auto added = add_from_config(*config, templates);
    if (!added.ok()) return added.error().in(config_path.string());
    source.bos_token = TRY(token_text(*config, "bos_token"));
    source.eos_token = TRY(token_text(*config, "eos_token"));
  }
  const auto from_json = add_from_json_file(folder / "chat_template.json", templates);
  if (!from_json.ok()) return from_json.error();
  const auto from_jinja = add_from_jinja_files(folder, templates);
  if (!from_jinja.ok()) return from_jinja.error();
  auto text = templates.choose(with_tools);
  if (!text) return std::optional<ChatTemplateSource>();
  source.text = *std::move(text);
  return std::optional<ChatTemplateSource>(std::move(source));
}

}  // namespace exo
