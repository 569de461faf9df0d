// The part of a chat request that only the chat template reads: messages, tools, its arguments.
// Pure; errors name the 'field' at fault.
#pragma once

#include "base/result.h"
#include "core/generation.h"
#include "core/json.h"

namespace exo {

Result<void> read_chat(const JsonObject& body, GenerationRequest& generation);

}  // namespace exo
