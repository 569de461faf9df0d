#include "inference/perplexity.h"

#include <algorithm>
#include <cmath>

#include "inference/sampler.h"

namespace exo {

Result<Perplexity> perplexity(LocalRing& ring, std::span<const TokenId> ids, int window,
                              std::span<const char> scored) {
  const Error too_few = invalid_argument("a perplexity needs two tokens at least");
  if (window < 2 || ids.size() < 2) return too_few;
  const auto width = static_cast<size_t>(ring.vocab_size());
  const auto step = static_cast<size_t>(window);
  double sum = 0, squares = 0;
  int count = 0;
  for (size_t first = 0; first + 1 < ids.size(); first += step) {
    const auto part = ids.subspan(first, std::min(step, ids.size() - first));
    const std::vector<float> logits = TRY(ring.logits(part));
    for (size_t i = 1; i < part.size(); ++i) {
      if (!scored.empty() && scored[first + i] == 0) continue;
      const std::span<const float> row(logits.data() + (i - 1) * width, width);
      const double loss = -token_logprobs(row, part[i], 0).logprob;
      sum += loss;
      squares += loss * loss;
      ++count;
    }
  }
  if (count == 0) return too_few;
  const double mean = sum / count;
  const double variance = std::max(0.0, squares / count - mean * mean);
  const double value = std::exp(mean);
  return Perplexity{value, value * std::sqrt(variance / std::max(1, count - 1)), count};
}

}  // namespace exo
