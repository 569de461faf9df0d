#include "api/openai_request.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "api/openai_messages.h"
#include "core/json.h"

namespace exo {
namespace {

constexpr size_t kMaxJsonDepth = 128;
constexpr size_t kMaxModelBytes = 256;
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxPrompts = 32;
constexpr int64_t kMaxChoices = 8;
constexpr int64_t kMaxTopLogprobs = 20;
constexpr int kDefaultCompletionTokens = 16;  // as OpenAI's /v1/completions

Result<std::optional<double>> number_in(const JsonObject& body, std::string_view key, double low,
                                        double high) {
  const auto value = TRY(get_number(body, key));
  if (value && !(*value >= low && *value <= high))  // also refuses NaN
    return invalid_argument(fmt::format("'{}' must be between {} and {}", key, low, high));
  return value;
}

Result<std::optional<int64_t>> int_in(const JsonObject& body, std::string_view key, int64_t low,
                                      int64_t high) {
  const auto value = TRY(get_int(body, key));
  if (value && (*value < low || *value > high))
    return invalid_argument(fmt::format("'{}' must be between {} and {}", key, low, high));
  return value;
}

// Fields of other servers that change the answer, with the value that means "off".
Result<void> refuse_unsupported(const JsonObject& body) {
  struct Neutral {
    std::string_view key;
    double value;
  };
  static constexpr Neutral kNumbers[] = {
      {"typical_p", 1},  {"mirostat", 0},       {"dry_multiplier", 0}, {"xtc_probability", 0},
      {"min_tokens", 0}, {"length_penalty", 1}, {"dynatemp_range", 0}, {"tfs_z", 1},
      {"top_a", 0},      {"epsilon_cutoff", 0}, {"eta_cutoff", 0},     {"min_keep", 0},
  };
  for (const auto& [key, neutral] : kNumbers) {
    const auto value = TRY(get_number(body, key));
    if (value && *value != neutral)
      return unsupported(fmt::format("'{}' is not supported by this server", key));
  }
  for (const std::string_view key : {"continue_final_message", "use_beam_search"})
    if (TRY(get_bool(body, key)).value_or(false))
      return unsupported(fmt::format("'{}' is not supported by this server", key));
  for (const std::string_view key :
       {"grammar", "json_schema", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "structured_outputs", "chat_template", "audio", "web_search_options", "bad_words"}) {
    if (find_value(body, key) != nullptr)
      return unsupported(fmt::format("'{}' is not supported by this server", key));
  }
  if (const auto* modalities = TRY(get_array(body, "modalities")))
    for (const Json& entry : *modalities)
      if (!entry.is_string() || entry.get_string() != "text")
        return unsupported("'modalities' other than text are not supported by this server");
  if (const auto* format = TRY(get_object(body, "response_format"))) {
    const auto type = TRY(get_string(*format, "type"));
    if (type.value_or("") != "text")
      return unsupported(
          "'response_format' other than {\"type\":\"text\"} is not supported by this server yet");
  }
  return {};
}

Result<void> read_penalties(const JsonObject& body, SamplingParams& sampling) {
  if (const auto v = TRY(number_in(body, "presence_penalty", -2, 2)))
    sampling.presence_penalty = *v;
  if (const auto v = TRY(number_in(body, "frequency_penalty", -2, 2)))
    sampling.frequency_penalty = *v;
  for (const std::string_view key : {"repeat_penalty", "repetition_penalty"})
    if (const auto v = TRY(number_in(body, key, 0.01, 100))) sampling.repetition_penalty = *v;
  return {};
}

Result<void> read_logit_bias(const JsonObject& body, SamplingParams& sampling) {
  const JsonObject* bias = TRY(get_object(body, "logit_bias"));
  if (bias == nullptr) return {};
  if (bias->size() > kMaxLogitBias)
    return invalid_argument(fmt::format("'logit_bias' has more than {} entries", kMaxLogitBias));
  sampling.logit_bias.clear();
  for (const auto& [key, value] : *bias) {
    TokenId id = 0;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || id < 0)
      return invalid_argument("'logit_bias' keys must be token ids, as strings of digits");
    const double amount = value.is_number() ? value.to_number<double>() : std::nan("");
    if (!(amount >= -100 && amount <= 100))
      return invalid_argument("'logit_bias' values must be numbers between -100 and 100");
    sampling.logit_bias.emplace_back(id, static_cast<float>(amount));
  }
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());
  const auto same_id = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (std::adjacent_find(sampling.logit_bias.begin(), sampling.logit_bias.end(), same_id) !=
      sampling.logit_bias.end())
    return invalid_argument("'logit_bias' names a token id twice");
  return {};
}

// max_completion_tokens, max_tokens and llama.cpp's n_predict are one limit; -1 means none.
Result<void> read_max_tokens(const JsonObject& body, SamplingParams& sampling) {
  for (const std::string_view key : {"n_predict", "max_tokens", "max_completion_tokens"}) {
    const auto value = TRY(get_int(body, key));
    if (!value) continue;
    if (*value < 1 && *value != -1)
      return invalid_argument(fmt::format("'{}' must be at least 1", key));
    const int64_t limit = std::numeric_limits<int>::max();
    sampling.max_tokens = *value == -1 ? 0 : static_cast<int>(std::min(*value, limit));
  }
  return {};
}

Result<void> read_logprobs(const JsonObject& body, OpenAiEndpoint endpoint,
                           SamplingParams& sampling) {
  sampling.top_logprobs = -1;
  if (endpoint == OpenAiEndpoint::completions) {
    const Json* value = find_value(body, "logprobs");
    if (value != nullptr && value->is_bool() && !value->get_bool()) return {};
    if (const auto count = TRY(int_in(body, "logprobs", 0, kMaxTopLogprobs)))
      sampling.top_logprobs = static_cast<int>(*count);
    return {};
  }
  const bool wanted = TRY(get_bool(body, "logprobs")).value_or(false);
  const auto top = TRY(int_in(body, "top_logprobs", 0, kMaxTopLogprobs));
  if (wanted) sampling.top_logprobs = static_cast<int>(top.value_or(0));
  if (!wanted && top.value_or(0) > 0)
    return invalid_argument("'top_logprobs' needs 'logprobs' to be true");
  return {};
}

Result<void> read_sampling(const JsonObject& body, OpenAiRequest& request) {
  SamplingParams& sampling = request.generation.sampling;
  if (const auto v = TRY(number_in(body, "temperature", 0, 100))) sampling.temperature = *v;
  if (const auto v = TRY(number_in(body, "top_p", 0, 1))) sampling.top_p = *v;
  if (const auto v = TRY(number_in(body, "min_p", 0, 1))) sampling.min_p = *v;
  if (const auto v = TRY(int_in(body, "top_k", -1, std::numeric_limits<int>::max())))
    sampling.top_k = static_cast<int>(std::max<int64_t>(*v, 0));
  if (const auto seed = TRY(get_int(body, "seed")); seed && *seed != -1) {
    sampling.seed = static_cast<uint64_t>(*seed);
    request.generation.seed_given = true;
  }
  sampling.ignore_eos = TRY(get_bool(body, "ignore_eos")).value_or(false);
  TRY(read_penalties(body, sampling));
  TRY(read_logit_bias(body, sampling));
  TRY(read_max_tokens(body, sampling));
  return read_logprobs(body, request.endpoint, sampling);
}

Result<void> add_stop(const Json& value, std::vector<std::string>& stops) {
  if (!value.is_string()) return invalid_argument("'stop' must be a string or an array of strings");
  const auto& text = value.get_string();
  if (text.size() > kMaxStopBytes)
    return invalid_argument(fmt::format("'stop' strings may have {} bytes", kMaxStopBytes));
  if (!text.empty()) stops.emplace_back(text);  // nothing to look for in an empty one
  return {};
}

Result<void> read_stop(const JsonObject& body, std::vector<std::string>& stops) {
  const Json* value = find_value(body, "stop");
  if (value == nullptr) return {};
  if (!value->is_array()) return add_stop(*value, stops);
  if (value->get_array().size() > kMaxStops)
    return invalid_argument(fmt::format("'stop' may have {} strings", kMaxStops));
  for (const Json& entry : value->get_array()) TRY(add_stop(entry, stops));
  return {};
}

Result<std::string> read_model(const JsonObject& body, bool allow_paths) {
  const std::string model = TRY(get_string(body, "model")).value_or("");
  if (model.empty() || is_model_id(model)) return model;
  const bool path = model.front() == '/' && model.size() <= kMaxPathBytes &&
                    model.find('\0') == std::string::npos;
  if (allow_paths && path) return model;
  return not_found("'model' is not the name of a model: GET /v1/models lists those there are");
}

Result<void> read_choices(const JsonObject& body, OpenAiRequest& request) {
  request.n = static_cast<int>(TRY(int_in(body, "n", 1, kMaxChoices)).value_or(1));
  if (const auto best = TRY(get_int(body, "best_of")); best && *best != request.n)
    return unsupported("'best_of' other than n is not supported by this server");
  request.stream = TRY(get_bool(body, "stream")).value_or(false);
  if (const auto* stream = TRY(get_object(body, "stream_options")))
    request.include_usage = TRY(get_bool(*stream, "include_usage")).value_or(false);
  return {};
}

Result<std::vector<TokenId>> read_ids(const JsonArray& array) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (const Json& entry : array) {
    if (!entry.is_int64() || entry.get_int64() < 0 ||
        entry.get_int64() > std::numeric_limits<TokenId>::max())
      return invalid_argument("'prompt' token arrays must hold token ids (whole numbers)");
    ids.push_back(static_cast<TokenId>(entry.get_int64()));
  }
  if (ids.empty()) return invalid_argument("'prompt' must not be an empty array");
  return ids;
}

Result<void> read_prompts(const JsonObject& body, OpenAiRequest& request) {
  const Json* prompt = find_value(body, "prompt");
  if (prompt == nullptr) return invalid_argument("'prompt' is missing");
  if (prompt->is_string()) {
    request.prompts.emplace_back(std::string(prompt->get_string()));
    return {};
  }
  if (!prompt->is_array())
    return invalid_argument("'prompt' must be a string, an array of strings, or token ids");
  const JsonArray& array = prompt->get_array();
  if (array.empty() || array.front().is_number()) {
    request.prompts.emplace_back(TRY(read_ids(array)));
    return {};
  }
  if (array.size() > kMaxPrompts)
    return invalid_argument(fmt::format("'prompt' may hold {} prompts", kMaxPrompts));
  for (const Json& entry : array) {
    if (entry.is_string())
      request.prompts.emplace_back(std::string(entry.get_string()));
    else if (entry.is_array())
      request.prompts.emplace_back(TRY(read_ids(entry.get_array())));
    else
      return invalid_argument("'prompt' must be a string, an array of strings, or token ids");
  }
  return {};
}

Result<void> read_completions(const JsonObject& body, OpenAiRequest& request) {
  TRY(read_prompts(body, request));
  request.echo = TRY(get_bool(body, "echo")).value_or(false);
  if (request.echo && request.generation.sampling.top_logprobs >= 0)
    return unsupported("'echo' together with 'logprobs' is not supported by this server");
  if (!TRY(get_string(body, "suffix")).value_or("").empty())
    return unsupported("'suffix' is not supported by this server");
  return {};
}

}  // namespace

bool is_model_id(std::string_view text) {
  if (text.empty() || text.size() > kMaxModelBytes || text.front() == '/') return false;
  if (text.find("..") != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || std::string_view("._:@/-").find(c) != std::string_view::npos;
  });
}

Result<OpenAiRequest> parse_openai_request(OpenAiEndpoint endpoint, std::string_view body_text,
                                           const OpenAiParseOptions& options) {
  auto parsed = parse_json(body_text, kMaxJsonDepth);
  if (!parsed.ok()) return invalid_argument("the request body is " + parsed.error().message);
  if (!parsed->is_object()) return invalid_argument("the request body must be a JSON object");
  const JsonObject& body = parsed->get_object();

  OpenAiRequest request;
  request.endpoint = endpoint;
  GenerationRequest& generation = request.generation;
  generation.model = TRY(read_model(body, options.allow_paths));
  if (options.sampling_defaults) generation.sampling = options.sampling_defaults(generation.model);
  if (endpoint == OpenAiEndpoint::completions)
    generation.sampling.max_tokens = kDefaultCompletionTokens;
  TRY(refuse_unsupported(body));
  TRY(read_sampling(body, request));
  TRY(read_stop(body, generation.stop));
  TRY(read_choices(body, request));
  request.parallel_tool_calls = TRY(get_bool(body, "parallel_tool_calls")).value_or(true);
  if (endpoint == OpenAiEndpoint::chat)
    TRY(read_chat(body, generation, request.pictures));
  else
    TRY(read_completions(body, request));
  return request;
}

}  // namespace exo
