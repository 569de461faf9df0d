// How the next token is chosen. Fields mean what they mean in the OpenAI API and in llama.cpp; the
// defaults are those of the OpenAI API. Randomness is keyed by (seed, position): a replay gives the
// same token.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/ids.h"

namespace exo {

struct SamplingParams {
  double temperature = 1.0;  // 0 = greedy
  int top_k = 0;             // 0 = off
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;  // over prompt and output (Keskar et al. 2019)
  double presence_penalty = 0.0;    // over the output
  double frequency_penalty = 0.0;   // over the output
  std::vector<std::pair<TokenId, float>> logit_bias;
  uint64_t seed = 0;
  int max_tokens = 0;     // of output; always set before a session opens
  int top_logprobs = -1;  // -1: none wanted; 0..20: the chosen token's and so many alternatives
  bool ignore_eos = false;
  std::vector<TokenId> stop_ids;  // end-of-sequence ids of the model
};

// What a model's generation_config.json asks for; a request that gives its own value goes before.
struct GenerationDefaults {
  std::optional<double> temperature;
  std::optional<int> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  std::optional<int> max_tokens;
};

}  // namespace exo
