// Many random stories, each checked: see scenario.cpp for what may happen in them.
#include <gtest/gtest.h>

#include "scenario.h"

namespace exo::sim {
namespace {

class Seeds : public testing::TestWithParam<uint64_t> {};

TEST_P(Seeds, HoldEveryCheck) {
  for (uint64_t seed = GetParam(); seed < GetParam() + 50; ++seed) {
    const ScenarioResult result = run_scenario(seed, false);
    for (const std::string& problem : result.problems)
      ADD_FAILURE() << "seed " << seed << ": " << problem << " (" << result.summary << ")";
  }
}
INSTANTIATE_TEST_SUITE_P(Sim, Seeds, testing::Range<uint64_t>(1, 501, 50));

TEST(Sim, TheSameSeedGivesTheSameRun) {
  for (const uint64_t seed : {3, 77, 404}) {
    EXPECT_EQ(run_scenario(seed, false).trace_hash, run_scenario(seed, false).trace_hash);
    EXPECT_NE(run_scenario(seed, false).trace_hash, run_scenario(seed + 1, false).trace_hash);
  }
}

}  // namespace
}  // namespace exo::sim
