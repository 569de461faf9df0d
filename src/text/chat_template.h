// ChatTemplate: messages -> prompt text with Hugging Face's Jinja semantics. Templates come with
// models and are hostile until proven otherwise: no I/O, and limits on steps, recursion and output
// size. Immutable after parsing; render() is thread-safe. Errors: `invalid_argument` when the
// template calls raise_exception (its message is for the user), `corrupt` when the template itself
// is broken, `resource_exhausted` at a limit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/json.h"

namespace exo {

struct ChatTemplateInput {
  Json messages;         // array, as the template expects it
  Json tools = nullptr;  // null when absent
  Json documents = nullptr;
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;
  JsonObject kwargs;   // added to the context last
  int64_t now_ms = 0;  // for strftime_now, since the epoch, local time zone
};

class ChatTemplate {
 public:
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source);
  virtual ~ChatTemplate() = default;
  virtual Result<std::string> render(const ChatTemplateInput& input) const = 0;
};

// What a model folder says about its template: tokenizer_config.json (string, or list of named
// templates), chat_template.jinja, chat_template.json. `with_tools` prefers the one named
// "tool_use" where there is one.
struct ChatTemplateSource {
  std::string text;
  std::string bos_token, eos_token;  // "" when null
};
Result<std::optional<ChatTemplateSource>> find_chat_template(const std::filesystem::path& folder,
                                                             bool with_tools = false);
// The same from GGUF metadata ("tokenizer.chat_template", for tools
// "tokenizer.chat_template.tool_use", and the special tokens).
std::optional<ChatTemplateSource> chat_template_of_gguf(const JsonObject& metadata,
                                                        bool with_tools = false);

}  // namespace exo
