// Routing: which experts a token goes to, and with what weight. One rule for every backend; the
// scores are few (tokens x experts), so they are read back to the host. Pure functions.
//
// Sources: Mixtral (Jiang et al. 2024), Qwen-MoE, DeepSeek-V2 (group-limited softmax) and
// DeepSeek-V3 (sigmoid with a correction bias), as Hugging Face's modeling code computes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace exo {

struct Tensor;

struct RouteParams {
  enum class Score { softmax, sigmoid };
  Score score = Score::softmax;
  int per_row = 1;           // experts of one token
  bool renormalize = false;  // the chosen weights sum to 1
  float scale = 1.0f;        // on the weights, last
  int groups = 1;            // experts lie in equal groups ...
  int groups_used = 1;       // ... of which only the best serve a token
  // [experts], added to the scores for choosing only; a group then counts its two best.
  const Tensor* bias = nullptr;
};

// The chosen of row r at [r * per_row, (r + 1) * per_row), best first.
struct Routing {
  int per_row = 1;
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

// logits [rows, experts]; bias [experts] or empty. Of equal scores the lowest expert wins.
Routing choose_experts(std::span<const float> logits, int64_t rows, std::span<const float> bias,
                       const RouteParams& params);

}  // namespace exo
