// The part of a chat request that only the chat template reads: messages, tools, its arguments.
// Pure; errors name the 'field' at fault.
#pragma once

#include <vector>

#include "api/openai_images.h"
#include "base/result.h"
#include "core/generation.h"
#include "core/json.h"

namespace exo {

// `pictures` receives those of all messages, in order.
Result<void> read_chat(const JsonObject& body, GenerationRequest& generation,
                       std::vector<SentPicture>& pictures);

}  // namespace exo
