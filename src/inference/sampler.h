// Sampler: logits -> one token. A pure function of the logits, the ids so far and the parameters:
// penalties are counted from the ids and the random number is a hash of (seed, position), so a
// replay after a node's death chooses the same token.
//
// Order: repetition, frequency and presence penalty, logit_bias; then greedy (temperature 0), or
// temperature, top_k, top_p, min_p and a draw. Ties go to the lowest id; NaN counts as minus
// infinity. Log-probabilities are the model's own (log-softmax of the logits as they came, before
// any of this), as the OpenAI API reports them. Thread-safe.
#pragma once

#include <optional>
#include <span>

#include "base/result.h"
#include "core/sampling.h"
#include "core/token_event.h"

namespace exo {

struct SampleContext {
  std::span<const TokenId> ids;  // the sequence before the token that is chosen
  int prompt_size = 0;           // of them; the rest is output
};

// The position of the new token is ids.size(). Fails when no logit is a number.
Result<TokenId> sample_token(std::span<const float> logits, const SamplingParams& params,
                             const SampleContext& context);

// Greedy: of equal values the lowest id; nullopt when every value is NaN or minus infinity.
std::optional<TokenId> greedy_token(std::span<const float> logits);

// The chosen token's log-probability and the `top` best alternatives, best first.
TokenLogprobs token_logprobs(std::span<const float> logits, TokenId chosen, int top);

// Uniform in [0, 1): splitmix64's finaliser over both numbers.
double uniform_at(uint64_t seed, uint64_t position);

}  // namespace exo
