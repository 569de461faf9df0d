// The JSON of answers to /v1/chat/completions and /v1/completions: bodies, stream chunks, usage,
// logprobs. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/openai_request.h"
#include "core/generation.h"
#include "core/json.h"
#include "core/token_event.h"
#include "core/vocabulary.h"

namespace exo {

// The same for all chunks of one answer.
struct ReplyHead {
  OpenAiEndpoint endpoint = OpenAiEndpoint::chat;
  std::string id;
  int64_t created = 0;  // seconds since the epoch
  std::string model;
  std::string system_fingerprint;
};

struct ReplyTimings {
  int cached_tokens = 0;
  int prompt_tokens = 0;  // computed ones, without the cached
  double prompt_ms = 0;
  int predicted_tokens = 0;
  double predicted_ms = 0;  // from the first token to the last
};

// What is sent of one choice at once, or (not streaming) all of it.
struct ReplyPart {
  int index = 0;
  bool first = false;  // the chunk that names the role
  std::string_view text, reasoning;
  std::span<const ToolCall> calls;
  int first_call = 0;  // how many calls of this choice were sent before
  Json logprobs = nullptr;
  std::string_view finish_reason;  // "" = not yet
};

// "stop", "length" or "tool_calls": nothing else leaves the server. Empty for what is an error.
std::string_view finish_name(FinishReason reason, bool called = false);

// Offset: bytes of this choice's text before the first of `ids`; for the legacy format.
Json logprobs_json(OpenAiEndpoint endpoint, std::span<const TokenId> ids,
                   std::span<const TokenLogprobs> logprobs, const Vocabulary& vocabulary,
                   size_t text_offset);
// Appends the entries of `more` (of the same endpoint) to `whole`; null is the empty one.
void append_logprobs(Json& whole, Json more);

JsonObject usage_json(const Usage& usage);
JsonObject timings_json(const ReplyTimings& timings);

JsonObject chunk_json(const ReplyHead& head, const ReplyPart& part);
JsonObject usage_chunk_json(const ReplyHead& head, const Usage& usage);
JsonObject body_json(const ReplyHead& head, std::span<const ReplyPart> parts, const Usage& usage);

std::string to_event(const JsonObject& data);   // "data: {...}\n\n"
std::string to_comment(std::string_view text);  // ": text\n\n"
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace exo
