#include "backend/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace exo {
namespace {

constexpr float kOut = 0;  // score of experts outside the best groups, as Hugging Face has it

void to_scores(std::span<const float> logits, RouteParams::Score kind, std::vector<float>& scores) {
  scores.assign(logits.begin(), logits.end());
  if (kind == RouteParams::Score::sigmoid) {
    for (float& score : scores) score = 1.0f / (1.0f + std::exp(-score));
    return;
  }
  const float top = *std::max_element(scores.begin(), scores.end());
  float total = 0;
  for (float& score : scores) total += score = std::exp(score - top);
  for (float& score : scores) score /= total;
}

// The indices of the `count` largest, largest first.
std::vector<int32_t> best_of(std::span<const float> values, int count) {
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

// Experts outside the best groups can no longer be chosen.
void keep_best_groups(const RouteParams& params, bool sum_of_two, std::vector<float>& choice) {
  const size_t size = choice.size() / static_cast<size_t>(params.groups);
  std::vector<float> groups;
  for (size_t begin = 0; begin < choice.size(); begin += size) {
    std::vector<float> members(choice.begin() + static_cast<std::ptrdiff_t>(begin),
                               choice.begin() + static_cast<std::ptrdiff_t>(begin + size));
    const size_t counted = sum_of_two ? std::min<size_t>(2, size) : 1;
    std::partial_sort(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(counted),
                      members.end(), std::greater<>());
    groups.push_back(std::accumulate(members.begin(),
                                     members.begin() + static_cast<std::ptrdiff_t>(counted), 0.0f));
  }
  const std::vector<int32_t> kept = best_of(groups, params.groups_used);
  for (size_t i = 0; i < choice.size(); ++i)
    if (std::find(kept.begin(), kept.end(), static_cast<int32_t>(i / size)) == kept.end())
      choice[i] = kOut;
}

}  // namespace

Routing choose_experts(std::span<const float> logits, int64_t rows, std::span<const float> bias,
                       const RouteParams& params) {
  Routing routing{params.per_row, {}, {}};
  const size_t count = rows > 0 ? logits.size() / static_cast<size_t>(rows) : 0;
  CHECK(rows == 0 || (params.per_row >= 1 && static_cast<size_t>(params.per_row) <= count),
        "routing: experts of a token");
  std::vector<float> scores, choice;
  for (int64_t row = 0; row < rows; ++row) {
    to_scores(logits.subspan(static_cast<size_t>(row) * count, count), params.score, scores);
    choice = scores;
    for (size_t i = 0; i < bias.size(); ++i) choice[i] += bias[i];
    if (params.groups > 1) keep_best_groups(params, !bias.empty(), choice);
    float total = 0;
    const std::vector<int32_t> chosen = best_of(choice, params.per_row);
    for (const int32_t expert : chosen) total += scores[static_cast<size_t>(expert)];
    // A sigmoid's scores may all be 0; the addend is that of DeepSeek's code.
    const float divisor = params.score == RouteParams::Score::sigmoid ? total + 1e-20f : total;
    for (const int32_t expert : chosen) {
      const float weight = scores[static_cast<size_t>(expert)];
      routing.experts.push_back(expert);
      routing.weights.push_back((params.renormalize ? weight / divisor : weight) * params.scale);
    }
  }
  return routing;
}

}  // namespace exo
