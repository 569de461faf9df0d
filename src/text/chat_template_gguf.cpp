#include "text/chat_template.h"

namespace exo {
namespace {

// One string of the metadata, "" when absent.
std::string text_of(const JsonObject& metadata, std::string_view key) {
  const auto text = get_string(metadata, key);
  return text.ok() ? text->value_or("") : "";
}

std::string token_of(const JsonObject& metadata, std::string_view id_key) {
  const auto id = get_int(metadata, id_key);
  const auto tokens = get_array(metadata, "tokenizer.ggml.tokens");
  if (!id.ok() || !id->has_value() || !tokens.ok() || *tokens == nullptr) return "";
  if (**id < 0 || static_cast<size_t>(**id) >= (*tokens)->size()) return "";
  const Json& token = (**tokens)[static_cast<size_t>(**id)];
  return token.is_string() ? std::string(std::string_view(token.get_string())) : "";
}

}  // namespace

std::optional<ChatTemplateSource> chat_template_of_gguf(const JsonObject& metadata,
                                                        bool with_tools) {
  ChatTemplateSource source;
  source.text = text_of(metadata, "tokenizer.chat_template");
  const std::string for_tools = text_of(metadata, "tokenizer.chat_template.tool_use");
  if (!for_tools.empty() && (with_tools || source.text.empty())) source.text = for_tools;
  if (source.text.empty()) return std::nullopt;
  source.bos_token = token_of(metadata, "tokenizer.ggml.bos_token_id");
  source.eos_token = token_of(metadata, "tokenizer.ggml.eos_token_id");
  return source;
}

}  // namespace exo
