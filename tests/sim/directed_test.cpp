// Single faults at chosen moments, with bounds on how long they may disturb an answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks.h"
#include "scenario.h"
#include "simulator.h"

namespace exo::sim {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr uint64_t kMegabyte = 1'000'000;

SamplingParams greedy(int max_tokens) {
  SamplingParams sampling;
  sampling.temperature = 0;
  sampling.max_tokens = max_tokens;
  return sampling;
}

const std::vector<TokenId> kPrompt = {5, 9, 1, 33, 7, 2};

// Three nodes of 1 GB; the model fits on any two of them, and each layer goes somewhere.
class Directed : public testing::Test {
 protected:
  Directed() : simulator_({.seed = 11}), card_(make_card("model", 6, 150 * kMegabyte)) {
    for (const char* name : {"A", "B", "C"})
      simulator_.add_node(name, {.memory_bytes = 1000 * kMegabyte});
    simulator_.run_until(2 * kSecond);
  }
  uint64_t ask(const char* asker, int max_tokens) {
    return simulator_.ask(NodeId{asker}, card_, kPrompt, greedy(max_tokens));
  }
  const SimRequest& request(uint64_t number) { return simulator_.requests().at(number); }
  bool wait_for_tokens(uint64_t number, size_t count) {
    return simulator_.run_until(simulator_.now_us() + 30 * kSecond, [&] {
      return request(number).tokens.size() >= count || request(number).done();
    });
  }
  bool wait_for_end(uint64_t number, int64_t within_us) {
    return simulator_.run_until(simulator_.now_us() + within_us,
                                [&] { return request(number).done(); });
  }
  Placement placement() { return simulator_.view(NodeId{"A"}).placements.at(0).placement; }
  // The longest silence between two tokens.
  int64_t longest_pause_us(uint64_t number) {
    int64_t longest = 0;
    const auto& times = request(number).token_times_us;
    for (size_t i = 1; i < times.size(); ++i) longest = std::max(longest, times[i] - times[i - 1]);
    return longest;
  }
  void expect_whole(uint64_t number) {
    const Answer expected = undisturbed_answer(card_, kPrompt, request(number).sampling);
    EXPECT_EQ(request(number).tokens, expected.tokens) << request(number).error.message;
    EXPECT_EQ(request(number).finish, expected.finish);
  }

  Simulator simulator_;
  ModelCard card_;
};

TEST_F(Directed, ThreeNodesAnswerAsOne) {
  const uint64_t number = ask("A", 40);
  ASSERT_TRUE(wait_for_end(number, 10 * kSecond));
  expect_whole(number);
  EXPECT_EQ(placement().stages.size(), 3u);
}

TEST_F(Directed, RequestsOfAllAskersShareOnePlacement) {
  std::vector<uint64_t> numbers;
  for (const char* asker : {"A", "B", "C"}) numbers.push_back(ask(asker, 30));
  for (const uint64_t number : numbers) {
    ASSERT_TRUE(wait_for_end(number, 20 * kSecond));
    expect_whole(number);
  }
  simulator_.run_until(simulator_.now_us() + 10 * kSecond);
  EXPECT_EQ(simulator_.view(NodeId{"B"}).placements.size(), 1u);
}

// Which stage dies, whether the asker is another node, and whether the connection breaks.
struct Death {
  size_t stage;
  bool silent;
};
class DirectedDeath : public Directed, public testing::WithParamInterface<Death> {};

TEST_P(DirectedDeath, TheAnswerGoesOn) {
  ask("A", 1);
  simulator_.run_until(simulator_.now_us() + 3 * kSecond);
  const NodeId victim = placement().stages.at(GetParam().stage).node;
  const char* asker = victim.value == "A" ? "B" : "A";
  const uint64_t number = ask(asker, 200);
  ASSERT_TRUE(wait_for_tokens(number, 20));
  ASSERT_FALSE(request(number).done());
  simulator_.kill(victim, GetParam().silent);
  ASSERT_TRUE(wait_for_end(number, 60 * kSecond));
  expect_whole(number);
  EXPECT_LT(longest_pause_us(number), (GetParam().silent ? 10 : 2) * kSecond);
  EXPECT_FALSE(request(number).notices.empty());
}
INSTANTIATE_TEST_SUITE_P(Sim, DirectedDeath,
                         testing::Values(Death{0, false}, Death{1, false}, Death{2, false},
                                         Death{0, true}, Death{1, true}, Death{2, true}));

TEST_F(Directed, PicturesMoveWithTheAnswer) {
  ask("A", 1);
  simulator_.run_until(simulator_.now_us() + 3 * kSecond);
  const NodeId victim = placement().head();
  std::vector<TokenId> prompt = kPrompt;
  prompt.insert(prompt.begin() + 2, kImageTokens, kImageToken);
  const std::vector<PlacedImage> images = {{make_picture(5), 2, kImageTokens}};
  const uint64_t number =
      simulator_.ask(NodeId{victim.value == "A" ? "B" : "A"}, card_, prompt, greedy(200), images);
  ASSERT_TRUE(wait_for_tokens(number, 20));
  simulator_.kill(victim, false);
  ASSERT_TRUE(wait_for_end(number, 60 * kSecond));
  const Answer expected = undisturbed_answer(card_, prompt, request(number).sampling, images);
  EXPECT_EQ(request(number).tokens, expected.tokens) << request(number).error.message;
  EXPECT_NE(expected.tokens, undisturbed_answer(card_, prompt, request(number).sampling).tokens);
}

TEST_F(Directed, StoppedNodeHandsOverAtOnce) {
  ask("A", 1);
  simulator_.run_until(simulator_.now_us() + 3 * kSecond);
  const uint64_t number = ask("A", 200);
  ASSERT_TRUE(wait_for_tokens(number, 20));
  simulator_.stop(NodeId{"C"});
  ASSERT_TRUE(wait_for_end(number, 30 * kSecond));
  expect_whole(number);
  EXPECT_LT(longest_pause_us(number), kSecond / 2);
}

// One survivor of 1 GB cannot hold 6 x 200 MB.
class DirectedNoFit : public testing::TestWithParam<bool> {};

TEST_P(DirectedNoFit, AClearErrorInTime) {
  const bool silent = GetParam();
  Simulator simulator({.seed = 5});
  for (const char* name : {"A", "B"}) simulator.add_node(name, {.memory_bytes = 1000 * kMegabyte});
  simulator.run_until(2 * kSecond);
  const ModelCard card = make_card("model", 6, 200 * kMegabyte);
  const uint64_t number = simulator.ask(NodeId{"A"}, card, kPrompt, greedy(200));
  const SimRequest& request = simulator.requests().at(number);
  ASSERT_TRUE(simulator.run_until(20 * kSecond, [&] { return request.tokens.size() >= 10; }));
  const int64_t death_us = simulator.now_us();
  simulator.kill(NodeId{"B"}, silent);
  ASSERT_TRUE(simulator.run_until(60 * kSecond, [&] { return request.done(); }));
  EXPECT_TRUE(request.failed);
  EXPECT_LT(request.ended_us - death_us, (silent ? 10 : 2) * kSecond);
  EXPECT_THAT(request.error.message, testing::HasSubstr("B "));
  EXPECT_THAT(request.error.message, testing::HasSubstr("cannot be placed"));
}
INSTANTIATE_TEST_SUITE_P(Sim, DirectedNoFit, testing::Bool());

TEST_F(Directed, ANodeThatJoinsIsUsedOnceTheModelIsIdle) {
  const uint64_t first = ask("A", 300);
  ASSERT_TRUE(wait_for_tokens(first, 5));
  simulator_.add_node("D", {.memory_bytes = 1000 * kMegabyte});
  ASSERT_TRUE(wait_for_end(first, 20 * kSecond));
  expect_whole(first);
  simulator_.run_until(simulator_.now_us() + 8 * kSecond);
  EXPECT_EQ(placement().stages.size(), 4u);
  EXPECT_EQ(simulator_.view(NodeId{"A"}).placements.size(), 1u);
  const uint64_t second = ask("D", 30);
  ASSERT_TRUE(wait_for_end(second, 10 * kSecond));
  expect_whole(second);
}

TEST_F(Directed, ANodeWithoutTheFilesIsLeftOut) {
  simulator_.add_node("D", {.memory_bytes = 4000 * kMegabyte, .lacks = {card_.fingerprint}});
  simulator_.run_until(simulator_.now_us() + 2 * kSecond);
  const uint64_t number = ask("D", 20);
  ASSERT_TRUE(wait_for_end(number, 10 * kSecond));
  expect_whole(number);
  for (const Stage& stage : placement().stages) EXPECT_NE(stage.node.value, "D");
}

TEST_F(Directed, WhenAllRefuseTheErrorNamesThem) {
  Simulator simulator({.seed = 6});
  for (const char* name : {"A", "B"})
    simulator.add_node(name, {.memory_bytes = 2000 * kMegabyte, .lacks = {card_.fingerprint}});
  simulator.run_until(2 * kSecond);
  const uint64_t number = simulator.ask(NodeId{"A"}, card_, kPrompt, greedy(5));
  const SimRequest& request = simulator.requests().at(number);
  ASSERT_TRUE(simulator.run_until(20 * kSecond, [&] { return request.done(); }));
  EXPECT_TRUE(request.failed);
  EXPECT_THAT(request.error.message, testing::HasSubstr("A refused"));
  EXPECT_THAT(request.error.message, testing::HasSubstr("B refused"));
}

TEST_F(Directed, AnIdleModelMakesRoomForAnother) {
  const uint64_t first = ask("A", 20);
  ASSERT_TRUE(wait_for_end(first, 10 * kSecond));
  simulator_.run_until(simulator_.now_us() + 3 * kSecond);
  const ModelCard other = make_card("other", 6, 400 * kMegabyte);
  const uint64_t second = simulator_.ask(NodeId{"B"}, other, kPrompt, greedy(20));
  ASSERT_TRUE(wait_for_end(second, 20 * kSecond));
  EXPECT_FALSE(request(second).failed) << request(second).error.message;
  EXPECT_EQ(request(second).tokens, undisturbed_answer(other, kPrompt, greedy(20)).tokens);
  const uint64_t third = ask("C", 20);
  ASSERT_TRUE(wait_for_end(third, 20 * kSecond));
  expect_whole(third);
}

// Nothing on the way may take slowness for a loss.
TEST_F(Directed, SlowHardwareIsNotTakenForDead) {
  simulator_.slow_down(NodeId{"B"}, 2000);  // seconds per batch
  const uint64_t number = ask("A", 4);
  ASSERT_TRUE(wait_for_end(number, 300 * kSecond));
  expect_whole(number);
  EXPECT_LE(request(number).notices.size(), 1u);
}

TEST_F(Directed, LoadingMayTakeMinutes) {
  Simulator simulator({.seed = 8});
  for (const char* name : {"A", "B"})
    simulator.add_node(name, {.memory_bytes = 1000 * kMegabyte, .load_us = 120 * kSecond});
  simulator.run_until(2 * kSecond);
  const ModelCard card = make_card("model", 6, 200 * kMegabyte);
  const uint64_t number = simulator.ask(NodeId{"A"}, card, kPrompt, greedy(5));
  const SimRequest& request = simulator.requests().at(number);
  ASSERT_TRUE(simulator.run_until(400 * kSecond, [&] { return request.done(); }));
  EXPECT_FALSE(request.failed) << request.error.message;
  EXPECT_EQ(request.tokens.size(), 5u);
}

TEST_F(Directed, CancelFreesTheSequenceEverywhere) {
  const uint64_t number = ask("B", 200);
  ASSERT_TRUE(wait_for_tokens(number, 10));
  simulator_.cancel(number);
  simulator_.run_until(simulator_.now_us() + 2 * kSecond);
  std::vector<std::string> problems;
  check_idle(simulator_, &problems);
  EXPECT_THAT(problems, testing::IsEmpty());
}

TEST_F(Directed, TheSessionsOfADeadAskerAreFreed) {
  simulator_.add_node("D", {.memory_bytes = 50 * kMegabyte});
  simulator_.run_until(simulator_.now_us() + 2 * kSecond);
  const uint64_t number = ask("D", 250);
  ASSERT_TRUE(wait_for_tokens(number, 10));
  simulator_.kill(NodeId{"D"}, true);
  simulator_.run_until(simulator_.now_us() + 7 * kSecond);
  std::vector<std::string> problems;
  check_idle(simulator_, &problems);
  EXPECT_THAT(problems, testing::IsEmpty());
}

}  // namespace
}  // namespace exo::sim
