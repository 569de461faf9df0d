// How well a model foretells a text: exp of the mean negative log-probability (natural logarithm)
// of its tokens. What quantisation costs shows here first. One thread; errors are the ring's.
#pragma once

#include <span>

#include "base/result.h"
#include "inference/generate_local.h"

namespace exo {

struct Perplexity {
  double value = 0;
  double standard_error = 0;  // of the value, by the spread of the tokens' log-probabilities
  int tokens = 0;             // scored ones
};

// The text is cut into windows of `window` tokens that do not see each other; every token of a
// window but its first is scored, or of these only those with scored[i] != 0 (as many as ids; empty
// = all). (llama-perplexity scores the second half of each window, so its figures are lower.)
// invalid_argument where no token can be scored.
Result<Perplexity> perplexity(LocalRing& ring, std::span<const TokenId> ids, int window,
                              std::span<const char> scored = {});

}  // namespace exo
