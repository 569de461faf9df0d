#include "orchestration/local_node.h"

#include <gtest/gtest.h>

#include <thread>

#include "orchestration/test_cluster.h"

namespace exo {
namespace {

GenerationRequest greedy(std::vector<TokenId> prompt, int max_tokens) {
  GenerationRequest request;
  request.model = "fake";
  request.prompt_ids = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

std::vector<TokenId> expected(std::vector<TokenId> ids, int count) {
  const size_t prompt = ids.size();
  for (int i = 0; i < count; ++i) ids.push_back(fake_greedy_token(ids, 6));
  return {ids.begin() + static_cast<long>(prompt), ids.end()};
}

TestCluster::Options of(size_t nodes) {
  TestCluster::Options options;
  options.nodes = nodes;
  return options;
}

TEST(LocalNode, OneTwoAndThreeNodesGiveTheSameAnswer) {
  for (const size_t count : {1u, 2u, 3u}) {
    TestCluster cluster(of(count));
    ASSERT_TRUE(cluster.wait_until_linked());
    auto started = cluster[count - 1].generate(greedy({3, 1, 4, 1, 5}, 40));
    ASSERT_TRUE(started.ok()) << started.error().message;
    const Answer answer = take(*started->stream);
    EXPECT_EQ(answer.error.message, "");
    EXPECT_EQ(answer.ids, expected({3, 1, 4, 1, 5}, 40));
    EXPECT_EQ(answer.finish, FinishReason::length);
    const auto placed = [&](const CoreView& view) {
      return !view.placements.empty() && view.placements[0].placement.stages.size() == count;
    };
    EXPECT_TRUE(cluster[0].wait_until(placed, 20'000));  // gossip tells the others
  }
}

TEST(LocalNode, ManyAskersAtOnce) {
  TestCluster cluster(of(3));
  ASSERT_TRUE(cluster.wait_until_linked());
  std::vector<std::thread> askers;
  for (TokenId i = 0; i < 12; ++i)
    askers.emplace_back([&cluster, i] {
      auto started = cluster[static_cast<size_t>(i) % 3].generate(greedy({i, 7, i}, 25));
      ASSERT_TRUE(started.ok());
      const Answer answer = take(*started->stream);
      EXPECT_EQ(answer.error.message, "");
      EXPECT_EQ(answer.ids, expected({i, 7, i}, 25));
    });
  for (std::thread& asker : askers) asker.join();
}

bool becomes_idle(TestCluster& cluster, size_t nodes) {
  for (int i = 0; i < 2000; ++i) {
    int busy = 0;
    for (size_t n = 0; n < nodes; ++n) {
      const StageStats stats = cluster[n].stage_stats();
      busy += stats.running + stats.waiting + stats.tail_sessions;
      busy += static_cast<int>(cluster[n].status().core.running_sessions);
    }
    if (busy == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // polls for an event without a hook
  }
  return false;
}

TEST(LocalNode, DroppingTheStreamFreesTheSequence) {
  TestCluster cluster(of(2));
  ASSERT_TRUE(cluster.wait_until_linked());
  auto started = cluster[1].generate(greedy({1, 2, 3}, 200));
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(take(*started->stream, 3).ids.size(), 3u);
  started->stream.reset();
  EXPECT_TRUE(becomes_idle(cluster, 2));
}

TEST(LocalNode, ANodeDiesAndTheAnswerGoesOn) {
  for (const size_t victim : {0u, 1u, 2u}) {
    TestCluster cluster(of(3));
    ASSERT_TRUE(cluster.wait_until_linked());
    ASSERT_TRUE(cluster.spread("fake"));
    const size_t asker = (victim + 1) % 3;
    auto started = cluster[asker].generate(greedy({9, 8, 7}, 120));
    ASSERT_TRUE(started.ok());
    Answer before = take(*started->stream, 5);
    cluster.kill(victim);
    const Answer after = take(*started->stream);
    EXPECT_EQ(after.error.message, "");
    before.ids.insert(before.ids.end(), after.ids.begin(), after.ids.end());
    EXPECT_EQ(before.ids, expected({9, 8, 7}, 120)) << "victim " << victim;
  }
}

// Takes its time, so that an answer of some length cannot be over before the test goes on.
class SlowEngine final : public InferenceEngine {
 public:
  explicit SlowEngine(std::unique_ptr<InferenceEngine> engine) : engine_(std::move(engine)) {}
  const Shard& shard() const override { return engine_->shard(); }
  Result<StepOutput> step(const Batch& batch, const HiddenStates* hidden) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return engine_->step(batch, hidden);
  }
  int block_size() const override { return engine_->block_size(); }
  int kv_block_count() const override { return engine_->kv_block_count(); }
  uint64_t memory_used_bytes() const override { return engine_->memory_used_bytes(); }

 private:
  std::unique_ptr<InferenceEngine> engine_;
};

TEST(LocalNode, AStoppingNodeHandsItsWorkOn) {
  TestCluster::Options options = of(2);
  options.make_engine = [](const Placement& placement, size_t stage,
                           const LoadWatch&) -> Result<std::unique_ptr<InferenceEngine>> {
    return std::unique_ptr<InferenceEngine>(
        std::make_unique<SlowEngine>(make_fake_engine(placement, stage)));
  };
  TestCluster cluster(options);
  ASSERT_TRUE(cluster.wait_until_linked());
  auto started = cluster[0].generate(greedy({5, 5}, 150));
  ASSERT_TRUE(started.ok());
  auto left_behind = cluster[1].generate(greedy({6}, 200));
  Answer answer = take(*started->stream, 4);
  cluster[1].stop();
  cluster[1].stop();
  const Answer rest = take(*started->stream);
  EXPECT_EQ(rest.error.message, "");
  answer.ids.insert(answer.ids.end(), rest.ids.begin(), rest.ids.end());
  EXPECT_EQ(answer.ids, expected({5, 5}, 150));
  EXPECT_EQ(take(*left_behind->stream).error.code, ErrorCode::unavailable);
}

TEST(LocalNode, RefusesWhatCannotBeAnswered) {
  TestCluster cluster(of(1));
  EXPECT_EQ(cluster[0].generate(greedy({}, 1)).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(cluster[0].generate(greedy({64}, 1)).error().code, ErrorCode::invalid_argument);
  const auto too_long = cluster[0].generate(greedy(std::vector<TokenId>(300, 1), 1));
  EXPECT_EQ(too_long.error().message,
            "This model's maximum context length is 256 tokens. However, your messages resulted in "
            "300 tokens. Please reduce the length of the messages.");
  GenerationRequest unknown = greedy({1}, 1);
  unknown.model = "unknown";
  EXPECT_EQ(cluster[0].generate(unknown).error().code, ErrorCode::not_found);
  auto clamped = cluster[0].generate(greedy({1, 2}, 5000));
  ASSERT_TRUE(clamped.ok());
  EXPECT_EQ(clamped->sampling.max_tokens, 254);
  EXPECT_EQ(take(*clamped->stream).ids.size(), 254u);
}

TEST(LocalNode, AShardThatCannotBeLoadedIsAnErrorForTheAsker) {
  TestCluster::Options options;
  options.nodes = 1;
  options.make_engine = [](const Placement&, size_t,
                           const LoadWatch&) -> Result<std::unique_ptr<InferenceEngine>> {
    return corrupt("model.safetensors is cut short");
  };
  TestCluster cluster(options);
  auto started = cluster[0].generate(greedy({1}, 5));
  ASSERT_TRUE(started.ok());
  const Answer answer = take(*started->stream);
  EXPECT_TRUE(answer.failed);
  EXPECT_NE(answer.error.message.find("cut short"), std::string::npos) << answer.error.message;
  EXPECT_EQ(cluster[0].status().requests_failed, 1u);
}

}  // namespace
}  // namespace exo
