#include "inference/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace exo {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TokenId pick(std::vector<float> logits, const SamplingParams& params, std::vector<TokenId> ids = {},
             int prompt_size = 0) {
  return sample_token(logits, params, {ids, prompt_size}).value();
}
SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

TEST(Sampler, GreedyTakesTheLowestOfEqualsAndSkipsNaN) {
  EXPECT_EQ(pick({1, 3, 3, 2}, greedy()), 1);
  EXPECT_EQ(pick({kNaN, -5, kNaN, -4}, greedy()), 3);
  EXPECT_EQ(greedy_token(std::vector<float>{kNaN, kNaN}), std::nullopt);
  const std::vector<float> nothing{kNaN, kNaN};
  EXPECT_FALSE(sample_token(nothing, greedy(), {}).ok());
}

TEST(Sampler, PenaltiesCountWhatTheySay) {
  SamplingParams params = greedy();
  params.repetition_penalty = 2;  // prompt and output; divides positive, multiplies negative
  EXPECT_EQ(pick({4, 3, 1}, params, {0}, 1), 1);
  EXPECT_EQ(pick({-1, -1.5, -9}, params, {0}, 1), 1);
  params = greedy();
  params.presence_penalty = 2;  // output only
  EXPECT_EQ(pick({4, 3, 1}, params, {0}, 1), 0);
  EXPECT_EQ(pick({4, 3, 1}, params, {0}, 0), 1);
  params = greedy();
  params.frequency_penalty = 0.6;  // per occurrence
  EXPECT_EQ(pick({4, 3, 1}, params, {0}, 0), 0);
  EXPECT_EQ(pick({4, 3, 1}, params, {0, 0}, 0), 1);
  params = greedy();
  params.logit_bias = {{2, 100.0f}, {0, -100.0f}, {99, 5.0f}, {-1, 5.0f}};
  EXPECT_EQ(pick({4, 3, 1}, params), 2);
}

std::map<TokenId, int> draws(const std::vector<float>& logits, SamplingParams params, int count) {
  std::map<TokenId, int> seen;
  for (int seed = 0; seed < count; ++seed) {
    params.seed = static_cast<uint64_t>(seed);
    ++seen[pick(logits, params)];
  }
  return seen;
}

TEST(Sampler, DrawsFollowTheDistributionAndItsFilters) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingParams params;
  auto seen = draws(logits, params, 20000);
  EXPECT_NEAR(seen[0], 10000, 300);
  EXPECT_NEAR(seen[1], 6000, 300);
  EXPECT_NEAR(seen[3], 1000, 200);
  params.top_k = 2;
  seen = draws(logits, params, 4000);
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[0], 2500, 150);
  params = {};
  params.top_p = 0.79;
  EXPECT_EQ(draws(logits, params, 500).size(), 2u);
  params.top_p = 0.81;
  EXPECT_EQ(draws(logits, params, 500).size(), 3u);
  params.top_p = 0;
  EXPECT_EQ(draws(logits, params, 100).size(), 1u);
  params = {};
  params.min_p = 0.2;
  EXPECT_EQ(draws(logits, params, 500).size(), 3u);
  params = {};
  params.temperature = 0.01;
  EXPECT_EQ(draws(logits, params, 500).size(), 1u);
}

TEST(Sampler, IsAFunctionOfSeedAndPosition) {
  std::mt19937 random(7);
  std::vector<float> logits(50);
  for (float& logit : logits) logit = std::normal_distribution<float>(0, 1)(random);
  SamplingParams params;
  params.seed = 42;
  params.top_p = 0.95;
  std::map<TokenId, int> seen;
  for (int position = 0; position < 50; ++position) {
    const std::vector<TokenId> ids(static_cast<size_t>(position), 1);
    const TokenId token = pick(logits, params, ids, 0);
    EXPECT_EQ(token, pick(logits, params, ids, 0));
    ++seen[token];
  }
  EXPECT_GT(seen.size(), 5u);
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), kNaN, std::log(0.2f)};
  const TokenLogprobs logprobs = token_logprobs(logits, 3, 2);
  EXPECT_NEAR(logprobs.logprob, std::log(0.2), 1e-5);
  ASSERT_EQ(logprobs.top.size(), 2u);
  EXPECT_EQ(logprobs.top[0].id, 0);
  EXPECT_NEAR(logprobs.top[1].logprob, std::log(0.3), 1e-5);
  EXPECT_EQ(token_logprobs(logits, 2, 9).top.size(), 4u);
  EXPECT_EQ(token_logprobs(logits, 2, 0).logprob, -9999.0f);
}

}  // namespace
}  // namespace exo
