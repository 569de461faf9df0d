// A request as the API and the command line hand it to a Node, already checked and free of JSON
// except for tool definitions, which only the chat template reads. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/json.h"
#include "core/sampling.h"

namespace exo {

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  Json content;      // string, null, or array of parts: {"type": "text", "text"}, {"type": "image"}
  JsonObject extra;  // name, tool_calls, tool_call_id, reasoning_content ... handed to the template
                     // unchanged
};

struct GenerationRequest {
  std::string model;
  std::vector<ChatMessage> messages;  // chat, or
  std::optional<std::string> prompt;  // plain text completion, or
  std::optional<std::vector<TokenId>> prompt_ids;
  // As the model sees them; one for each image part, or image token of a plain prompt, in order.
  std::vector<std::shared_ptr<const Image>> images;
  JsonArray tools;
  JsonObject template_kwargs;  // chat_template_kwargs
  bool add_generation_prompt = true;
  SamplingParams sampling;  // max_tokens 0 = as many as the context allows
  bool seed_given = false;
  std::vector<std::string> stop;  // strings
};

// A call that a model wrote. `arguments` is the text of a JSON object, numbers as the model wrote
// them; `id` is "" unless the model named one.
struct ToolCall {
  std::string id, name, arguments;
};

struct Usage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, reused from the prefix cache
  int completion_tokens = 0;
};

}  // namespace exo
