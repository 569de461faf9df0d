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

// `system_prompt` (may be empty) goes first where the client sent no system message.
Result<std::string> render_chat(const GenerationRequest& request, const LoadedTemplate& with,
                                const std::string& system_prompt, int64_t now_ms);

// OpenAI's sentence, which clients look for.
Error context_exceeded(int context_length, int prompt_tokens);

// How many tokens may be generated: what was asked for, else `default_max`, never more than fits.
int output_room(int asked, int default_max, int context_length, int prompt_tokens);

}  // namespace exo
