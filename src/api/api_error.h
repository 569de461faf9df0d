// ApiError: an error in the shape OpenAI's clients expect: an object with all four keys, and the
// HTTP status that makes them do the right thing (retry, compact the conversation, give up).
#pragma once

#include <string>

#include "api/http_message.h"
#include "base/result.h"
#include "core/json.h"

namespace exo {

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // "" = null
  std::string code;   // "" = null
};

// What a Node or a parser says, in HTTP's words. `prompt_param` is named when the prompt is at
// fault. A message that begins with a 'quoted' field names that field as param.
ApiError to_api_error(const Error& error, std::string_view prompt_param = {});
ApiError error_of_status(int status, std::string message);

JsonObject error_json(const ApiError& error);  // {"error": {...}}
HttpResponse error_response(const ApiError& error);

}  // namespace exo
