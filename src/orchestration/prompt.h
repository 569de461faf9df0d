// From a request to the ids of its prompt: the last place where a request is text. Pure but for the
// clock's reading handed in. Errors are for the client: invalid_argument or unsupported.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/generation.h"
#include "orchestration/model_library.h"

namespace exo {

struct RenderOptions {
  std::string system_prompt;  // goes first where the client sent no system message; may be empty
  std::string image_token;    // as text; empty: the model takes text only
  int64_t now_ms = 0;
};

Result<std::string> render_chat(const GenerationRequest& request, const LoadedTemplate& with,
                                const RenderOptions& options);

// OpenAI's sentence, which clients look for.
Error context_exceeded(int context_length, int prompt_tokens);

// How many tokens may be generated: what was asked for, else `default_max`, never more than fits.
int output_room(int asked, int default_max, int context_length, int prompt_tokens);

}  // namespace exo
