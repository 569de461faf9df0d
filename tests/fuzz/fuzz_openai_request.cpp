// Bodies of /v1/chat/completions and /v1/completions: any bytes give a request or an error with a
// message, and what is accepted keeps the promised limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/api_error.h"
#include "api/openai_request.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void try_body(exo::OpenAiEndpoint endpoint, std::string_view body) {
  const auto request = exo::parse_openai_request(endpoint, body);
  if (!request.ok()) {
    const exo::ApiError error = exo::to_api_error(request.error(), "messages");
    check(!error.message.empty() && (error.status == 400 || error.status == 404));
    return;
  }
  const exo::SamplingParams& sampling = request->generation.sampling;
  check(sampling.temperature >= 0 && sampling.top_p >= 0 && sampling.top_p <= 1);
  check(sampling.max_tokens >= 0 && sampling.top_k >= 0);
  check(sampling.top_logprobs >= -1 && sampling.top_logprobs <= 20);
  check(request->n >= 1 && request->n <= 8);
  check(request->generation.stop.size() <= 16 && sampling.logit_bias.size() <= 1024);
  const bool chat = endpoint == exo::OpenAiEndpoint::chat;
  check(chat ? !request->generation.messages.empty() : !request->prompts.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  try_body(exo::OpenAiEndpoint::chat, body);
  try_body(exo::OpenAiEndpoint::completions, body);
  return 0;
}
