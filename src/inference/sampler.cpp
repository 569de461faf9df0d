#include "inference/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <vector>

namespace exo {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
// What is less likely than e^-40 of the best is never drawn, and need not be weighed.
constexpr double kNegligible = 40;

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

bool inside(TokenId id, std::span<const float> logits) {
  return id >= 0 && static_cast<size_t>(id) < logits.size();
}

bool adjusts(const SamplingParams& params) {
  return params.repetition_penalty != 1.0 || params.frequency_penalty != 0.0 ||
         params.presence_penalty != 0.0 || !params.logit_bias.empty();
}

void penalise(std::span<float> logits, const SamplingParams& params, const SampleContext& context) {
  if (params.repetition_penalty != 1.0 && params.repetition_penalty > 0) {
    std::vector<TokenId> seen(context.ids.begin(), context.ids.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const auto penalty = static_cast<float>(params.repetition_penalty);
    for (const TokenId id : seen)
      if (inside(id, logits))
        logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  }
  if (params.frequency_penalty != 0.0 || params.presence_penalty != 0.0) {
    std::unordered_map<TokenId, int> counts;
    for (size_t i = static_cast<size_t>(context.prompt_size); i < context.ids.size(); ++i)
      ++counts[context.ids[i]];
    for (const auto& [id, count] : counts)
      if (inside(id, logits))
        logits[id] -=
            static_cast<float>(count * params.frequency_penalty + params.presence_penalty);
  }
  for (const auto& [id, bias] : params.logit_bias)
    if (inside(id, logits)) logits[id] += bias;
}

struct Candidate {
  TokenId id;
  float logit;
};
bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void sort_by_id(std::vector<Candidate>& candidates) {
  const auto lower = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), lower))
    std::sort(candidates.begin(), candidates.end(), lower);
}

void keep_top_k(std::vector<Candidate>& candidates, int top_k) {
  if (top_k <= 0 || static_cast<size_t>(top_k) >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + top_k, candidates.end(), better);
  candidates.resize(static_cast<size_t>(top_k));
}

// The smallest set of the most probable candidates whose sum reaches top_p; at least one.
void keep_top_p(std::vector<Candidate>& candidates, double top_p, double temperature, float best) {
  if (top_p >= 1.0) return;
  const auto weight = [&](const Candidate& c) { return std::exp((c.logit - best) / temperature); };
  // Summed in one order whatever came before: by id.
  sort_by_id(candidates);
  double total = 0;
  for (const Candidate& candidate : candidates) total += weight(candidate);
  const auto worse = [](const Candidate& a, const Candidate& b) { return better(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), worse);
  std::vector<Candidate> kept;
  double sum = 0;
  while (!candidates.empty() && (kept.empty() || sum < top_p * total)) {
    std::pop_heap(candidates.begin(), candidates.end(), worse);
    kept.push_back(candidates.back());
    candidates.pop_back();
    sum += weight(kept.back());
  }
  candidates = std::move(kept);
}

TokenId draw(std::vector<Candidate>& candidates, const SamplingParams& params, float best,
             double uniform) {
  sort_by_id(candidates);
  std::vector<double> sums;
  sums.reserve(candidates.size());
  double total = 0;
  for (const Candidate& candidate : candidates) {
    const double weight = std::exp((candidate.logit - best) / params.temperature);
    total += weight >= params.min_p ? weight : 0;  // the best candidate's weight is 1
    sums.push_back(total);
  }
  auto found = std::upper_bound(sums.begin(), sums.end(), uniform * total);
  if (found == sums.end()) found = std::lower_bound(sums.begin(), sums.end(), total);
  return candidates[static_cast<size_t>(found - sums.begin())].id;
}

}  // namespace

double uniform_at(uint64_t seed, uint64_t position) {
  return static_cast<double>(mix(mix(seed) ^ position) >> 11) * 0x1.0p-53;
}

std::optional<TokenId> greedy_token(std::span<const float> logits) {
  size_t best = logits.size();
  float value = kNever;
  for (size_t id = 0; id < logits.size(); ++id)
    if (logits[id] > value) best = id, value = logits[id];
  if (best == logits.size()) return std::nullopt;
  return static_cast<TokenId>(best);
}

Result<TokenId> sample_token(std::span<const float> logits, const SamplingParams& params,
                             const SampleContext& context) {
  if (!(params.temperature > 0) && !adjusts(params)) {
    if (const auto best = greedy_token(logits)) return *best;
  }
  std::vector<float> adjusted(logits.begin(), logits.end());
  for (float& logit : adjusted)
    if (std::isnan(logit)) logit = kNever;
  penalise(adjusted, params, context);
  const auto best = greedy_token(adjusted);
  if (!best) return internal_error("the model's output holds no number");
  const float top = adjusted[*best];
  if (!(params.temperature > 0) || !std::isfinite(top)) return *best;

  std::vector<Candidate> candidates;
  const double least = top - kNegligible * params.temperature;
  for (size_t id = 0; id < adjusted.size(); ++id)
    if (adjusted[id] > kNever && adjusted[id] >= least)
      candidates.push_back({static_cast<TokenId>(id), adjusted[id]});
  keep_top_k(candidates, params.top_k);
  keep_top_p(candidates, params.top_p, params.temperature, top);
  return draw(candidates, params, top, uniform_at(params.seed, context.ids.size()));
}

TokenLogprobs token_logprobs(std::span<const float> logits, TokenId chosen, int top) {
  TokenLogprobs result;
  const auto best = greedy_token(logits);
  if (!best || !inside(chosen, logits)) return result;
  double sum = 0;
  for (const float logit : logits)
    if (!std::isnan(logit)) sum += std::exp(static_cast<double>(logit) - logits[*best]);
  const double log_sum = logits[*best] + std::log(sum);
  // JSON has no infinities: -9999 is what the OpenAI API writes for "never".
  const auto logprob = [&](float logit) {
    return logit > kNever ? static_cast<float>(logit - log_sum) : -9999.0f;
  };
  result.logprob = logprob(logits[chosen]);
  std::vector<Candidate> candidates;
  for (size_t id = 0; id < logits.size(); ++id)
    candidates.push_back({static_cast<TokenId>(id), std::isnan(logits[id]) ? kNever : logits[id]});
  const auto count = std::min(static_cast<size_t>(std::max(top, 0)), candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + count, candidates.end(), better);
  for (size_t i = 0; i < count; ++i)
    result.top.push_back({candidates[i].id, logprob(candidates[i].logit)});
  return result;
}

}  // namespace exo
