// The body of POST /v1/chat/completions and /v1/completions -> checked values. Pure and hostile-
// proof: any bytes give a request or an Error whose message begins with the 'field' at fault.
// Unknown fields are ignored, null counts as absent; what is known, would change the answer and
// cannot be done is refused, never dropped.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/openai_images.h"
#include "base/result.h"
#include "core/generation.h"

namespace exo {

enum class OpenAiEndpoint { chat, completions };

struct OpenAiRequest {
  OpenAiEndpoint endpoint = OpenAiEndpoint::chat;
  GenerationRequest generation;       // completions: without the prompt; without images
  std::vector<SentPicture> pictures;  // chat: what its images are made of, in order
  std::vector<std::variant<std::string, std::vector<TokenId>>> prompts;  // completions
  int n = 1;                                                             // choices per prompt
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool parallel_tool_calls = true;
};

struct OpenAiParseOptions {
  bool allow_paths = false;  // `model` may be an absolute folder path (clients on this machine)
  // Where the client is silent, e.g. from the model's generation_config; null = the API's.
  std::function<SamplingParams(const std::string& model)> sampling_defaults;
};

Result<OpenAiRequest> parse_openai_request(OpenAiEndpoint endpoint, std::string_view body,
                                           const OpenAiParseOptions& options = {});

// Letters, digits and ._:@/- ; at most 256 bytes; no ".."; no leading '/'.
bool is_model_id(std::string_view text);

}  // namespace exo
