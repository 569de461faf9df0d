#include "api/openai_reply.h"

#include <algorithm>
#include <cmath>

namespace exo {
namespace {

constexpr double kLowestLogprob = -9999.0;  // JSON has no minus infinity; OpenAI sends this

double finite(double logprob) {
  return std::isfinite(logprob) ? std::max(logprob, kLowestLogprob) : kLowestLogprob;
}

std::string_view token_bytes(const Vocabulary& vocabulary, TokenId id) {
  const bool known = id >= 0 && static_cast<size_t>(id) < vocabulary.bytes.size();
  return known ? std::string_view(vocabulary.bytes[static_cast<size_t>(id)]) : std::string_view();
}

JsonObject chat_entry(const Vocabulary& vocabulary, TokenId id, double logprob) {
  const std::string_view bytes = token_bytes(vocabulary, id);
  JsonArray numbers;
  numbers.reserve(bytes.size());
  for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
  JsonObject entry;
  entry["token"] = replace_invalid_utf8(bytes);
  entry["logprob"] = finite(logprob);
  entry["bytes"] = std::move(numbers);
  return entry;
}

Json chat_logprobs(std::span<const TokenId> ids, std::span<const TokenLogprobs> logprobs,
                   const Vocabulary& vocabulary) {
  JsonArray content;
  for (size_t i = 0; i < ids.size(); ++i) {
    JsonObject entry = chat_entry(vocabulary, ids[i], logprobs[i].logprob);
    JsonArray top;
    for (const Logprob& other : logprobs[i].top)
      top.push_back(chat_entry(vocabulary, other.id, other.logprob));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return JsonObject{{"content", std::move(content)}, {"refusal", nullptr}};
}

Json legacy_logprobs(std::span<const TokenId> ids, std::span<const TokenLogprobs> logprobs,
                     const Vocabulary& vocabulary, size_t text_offset) {
  JsonArray tokens, values, tops, offsets;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string_view bytes = token_bytes(vocabulary, ids[i]);
    tokens.push_back(Json(replace_invalid_utf8(bytes)));
    values.push_back(finite(logprobs[i].logprob));
    JsonObject top;
    for (const Logprob& other : logprobs[i].top)
      top.emplace(replace_invalid_utf8(token_bytes(vocabulary, other.id)), finite(other.logprob));
    tops.push_back(std::move(top));
    offsets.push_back(text_offset);
    text_offset += bytes.size();
  }
  return JsonObject{{"tokens", std::move(tokens)},
                    {"token_logprobs", std::move(values)},
                    {"top_logprobs", std::move(tops)},
                    {"text_offset", std::move(offsets)}};
}

JsonObject envelope(const ReplyHead& head, std::string_view object) {
  JsonObject out;
  out["id"] = head.id;
  out["object"] = object;
  out["created"] = head.created;
  out["model"] = head.model;
  out["system_fingerprint"] = head.system_fingerprint;
  return out;
}

Json finish_json(const ReplyPart& part) {
  return part.finish_reason.empty() ? Json(nullptr) : Json(part.finish_reason);
}

// Chunks number the calls, a whole message lists them.
JsonArray calls_json(const ReplyPart& part, bool whole) {
  JsonArray list;
  for (const ToolCall& call : part.calls) {
    JsonObject entry;
    if (!whole) entry["index"] = part.first_call + static_cast<int>(list.size());
    entry["id"] = call.id;
    entry["type"] = "function";
    entry["function"] = JsonObject{{"name", call.name}, {"arguments", call.arguments}};
    list.push_back(std::move(entry));
  }
  return list;
}

JsonObject chat_choice(const ReplyPart& part, bool whole) {
  JsonObject message;
  if (part.first) message["role"] = "assistant";
  // The first chunk says content "", the last one has an empty delta, others only what is new.
  if (part.first || whole || !part.text.empty() || !part.logprobs.is_null())
    message["content"] = part.text;
  if (whole && part.text.empty() && !part.calls.empty()) message["content"] = nullptr;
  if (!part.reasoning.empty()) message["reasoning_content"] = part.reasoning;
  if (!part.calls.empty()) message["tool_calls"] = calls_json(part, whole);
  if (whole) message["refusal"] = nullptr;
  JsonObject choice;
  choice["index"] = part.index;
  choice[whole ? "message" : "delta"] = std::move(message);
  choice["logprobs"] = part.logprobs;
  choice["finish_reason"] = finish_json(part);
  return choice;
}

JsonObject text_choice(const ReplyPart& part) {
  JsonObject choice;
  choice["index"] = part.index;
  choice["text"] = part.text;
  choice["logprobs"] = part.logprobs;
  choice["finish_reason"] = finish_json(part);
  return choice;
}

// Length of the valid UTF-8 sequence at the front of `bytes`, 0 when there is none.
size_t utf8_sequence(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const unsigned second = at(1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second > 0x9f;
  const bool beyond = lead == 0xf4 && second > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const size_t length = utf8_sequence(bytes);
    if (length == 0)
      out += "\xef\xbf\xbd";
    else
      out.append(bytes.substr(0, length));
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

std::string_view finish_name(FinishReason reason, bool called) {
  if (reason == FinishReason::stop) return called ? "tool_calls" : "stop";
  if (reason == FinishReason::length) return "length";
  return {};
}

Json logprobs_json(OpenAiEndpoint endpoint, std::span<const TokenId> ids,
                   std::span<const TokenLogprobs> logprobs, const Vocabulary& vocabulary,
                   size_t text_offset) {
  ids = ids.first(std::min(ids.size(), logprobs.size()));
  if (ids.empty()) return nullptr;
  if (endpoint == OpenAiEndpoint::chat) return chat_logprobs(ids, logprobs, vocabulary);
  return legacy_logprobs(ids, logprobs, vocabulary, text_offset);
}

void append_logprobs(Json& whole, Json more) {
  if (more.is_null()) return;
  if (whole.is_null()) {
    whole = std::move(more);
    return;
  }
  for (auto& [key, value] : more.get_object())
    if (JsonArray* array = value.if_array())
      for (Json& entry : *array) whole.get_object()[key].get_array().push_back(std::move(entry));
}

JsonObject usage_json(const Usage& usage) {
  JsonObject out;
  out["prompt_tokens"] = usage.prompt_tokens;
  out["completion_tokens"] = usage.completion_tokens;
  out["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  out["prompt_tokens_details"] = JsonObject{{"cached_tokens", usage.cached_tokens}};
  return out;
}

JsonObject timings_json(const ReplyTimings& timings) {
  const auto rate = [](double count, double ms) { return ms > 0 ? count * 1000.0 / ms : 0.0; };
  JsonObject out;
  out["cache_n"] = timings.cached_tokens;
  out["prompt_n"] = timings.prompt_tokens;
  out["prompt_ms"] = timings.prompt_ms;
  out["prompt_per_second"] = rate(timings.prompt_tokens, timings.prompt_ms);
  out["predicted_n"] = timings.predicted_tokens;
  out["predicted_ms"] = timings.predicted_ms;
  // The first token belongs to the prompt's time.
  out["predicted_per_second"] = rate(timings.predicted_tokens - 1, timings.predicted_ms);
  return out;
}

JsonObject chunk_json(const ReplyHead& head, const ReplyPart& part) {
  const bool chat = head.endpoint == OpenAiEndpoint::chat;
  JsonObject out = envelope(head, chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = JsonArray{chat ? Json(chat_choice(part, false)) : Json(text_choice(part))};
  return out;
}

JsonObject usage_chunk_json(const ReplyHead& head, const Usage& usage) {
  const bool chat = head.endpoint == OpenAiEndpoint::chat;
  JsonObject out = envelope(head, chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = JsonArray();
  out["usage"] = usage_json(usage);
  return out;
}

JsonObject body_json(const ReplyHead& head, std::span<const ReplyPart> parts, const Usage& usage) {
  const bool chat = head.endpoint == OpenAiEndpoint::chat;
  JsonObject out = envelope(head, chat ? "chat.completion" : "text_completion");
  JsonArray choices;
  for (const ReplyPart& part : parts)
    choices.push_back(chat ? Json(chat_choice(part, true)) : Json(text_choice(part)));
  out["choices"] = std::move(choices);
  out["usage"] = usage_json(usage);
  return out;
}

std::string to_event(const JsonObject& data) {
  return "data: " + boost::json::serialize(data) + "\n\n";
}

std::string to_comment(std::string_view text) {
  std::string line = ": ";
  for (const char c : text) line.push_back(c == '\n' || c == '\r' ? ' ' : c);
  return line + "\n\n";
}

}  // namespace exo
