#include "orchestration/ring_run.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

const NodeId kHead{"head"}, kMiddle{"middle"}, kTail{"tail"};

Placement ring() {
  Placement placement;
  placement.id.value = 7;
  placement.epoch = 1;
  placement.stages = {{kHead, {"m", 0, 1, 3}}, {kMiddle, {"m", 1, 2, 3}}, {kTail, {"m", 2, 3, 3}}};
  return placement;
}

class RingRunTest : public testing::Test {
 protected:
  RingRunTest() : placement_(ring()) { context_.now_us = 1; }
  RingRun at_stage(size_t index) {
    context_.options.self.id = placement_.stages[index].node;
    return RingRun(context_, placement_, index);
  }
  Forward forward(uint64_t run, uint64_t number) const {
    return {{placement_.id, 1, run, number, {}, {}}, {}};
  }
  BatchResult result(uint64_t run, uint64_t number) const {
    return {placement_.id, 1, run, number, {}};
  }
  std::vector<uint64_t> submitted() {
    std::vector<uint64_t> numbers;
    for (const CoreEffect& effect : context_.effects)
      if (const auto* submit = std::get_if<SubmitToStage>(&effect))
        if (const auto* forward = std::get_if<Forward>(&submit->command))
          numbers.push_back(forward->batch.number);
    context_.effects.clear();
    return numbers;
  }
  template <class Command>
  int commands() {
    int count = 0;
    for (const CoreEffect& effect : context_.effects)
      if (const auto* submit = std::get_if<SubmitToStage>(&effect))
        count += std::holds_alternative<Command>(submit->command);
    context_.effects.clear();
    return count;
  }
  template <class Kind>
  int sent() {
    int count = 0;
    for (const CoreEffect& effect : context_.effects)
      if (const auto* send = std::get_if<SendMessage>(&effect))
        count += std::holds_alternative<Kind>(send->message);
    context_.effects.clear();
    return count;
  }
  void heartbeats(RingRun& run, bool computing) {
    run.on_progress(kMiddle, {placement_.id, 0, 0, computing});
    run.on_progress(kTail, {placement_.id, 0, 0, false});
  }

  CoreContext context_;
  const Placement placement_;
};

TEST_F(RingRunTest, EachBatchOnceAndInOrder) {
  RingRun run = at_stage(1);
  for (const uint64_t number : {0, 2, 0, 3, 2, 1, 1, 4}) run.on_forward(forward(5, number));
  EXPECT_EQ(submitted(), (std::vector<uint64_t>{0, 1, 2, 3, 4}));
  run.on_forward(forward(4, 5));  // of an older run
  EXPECT_TRUE(submitted().empty());
  run.on_forward(forward(6, 0));
  EXPECT_EQ(submitted(), (std::vector<uint64_t>{0}));
}

TEST_F(RingRunTest, AGapIsReportedUntilItIsFilled) {
  RingRun run = at_stage(2);
  run.on_forward(forward(0, 1));
  run.tick();
  EXPECT_EQ(sent<BatchGap>(), 0);
  context_.now_us += 300'000;
  run.tick();
  EXPECT_EQ(sent<BatchGap>(), 1);
  context_.now_us += 300'000;
  run.tick();
  EXPECT_EQ(sent<BatchGap>(), 1);
}

TEST_F(RingRunTest, ResultsComeBackInOrder) {
  RingRun run = at_stage(0);
  for (uint64_t number = 0; number < 3; ++number) run.on_forward_made(forward(0, number));
  EXPECT_TRUE(run.on_result(result(0, 1)).empty());
  EXPECT_EQ(run.on_result(result(0, 0)).size(), 2u);
  EXPECT_TRUE(run.on_result(result(0, 0)).empty());
  EXPECT_TRUE(run.on_result(result(0, 9)).empty());  // never sent
}

TEST_F(RingRunTest, ALostBatchStartsANewRunButASlowStageDoesNot) {
  RingRun run = at_stage(0);
  run.on_forward_made(forward(0, 0));
  context_.effects.clear();
  for (int second = 1; second < 200; ++second) {
    context_.now_us += 1'000'000;
    heartbeats(run, true);
    run.tick();
  }
  EXPECT_EQ(commands<StartNewRun>(), 0);
  context_.now_us += 1'000'000;
  heartbeats(run, false);
  run.tick();
  EXPECT_EQ(commands<StartNewRun>(), 1);
  run.on_forward_made(forward(0, 1));  // made before the runner knew
  EXPECT_EQ(sent<Forward>(), 0);
  EXPECT_TRUE(run.on_result(result(0, 0)).empty());
  run.on_forward_made(forward(1, 0));
  EXPECT_EQ(sent<Forward>(), 1);
}

TEST_F(RingRunTest, NewRunsWithoutProgressBackOff) {
  RingRun run = at_stage(0);
  int runs = 0, sent_in_run = -1;
  for (int tick = 0; tick < 600; ++tick) {  // a minute in which every batch is lost
    context_.now_us += 100'000;
    if (sent_in_run != runs) run.on_forward_made(forward(static_cast<uint64_t>(runs), 0));
    sent_in_run = runs;
    heartbeats(run, false);
    context_.effects.clear();
    run.tick();
    runs += commands<StartNewRun>();
  }
  EXPECT_GT(runs, 2);
  EXPECT_LT(runs, 12);
}

TEST_F(RingRunTest, AnErrorIsRepeatedUntilANewRun) {
  RingRun run = at_stage(1);
  run.on_forward(forward(0, 0));
  EXPECT_TRUE(run.progress().computing);
  run.on_error_made({placement_.id, 0, 0, internal_error("no")});
  EXPECT_FALSE(run.progress().computing);
  EXPECT_EQ(sent<StageError>(), 1);
  context_.now_us += 1'100'000;
  run.tick();
  EXPECT_EQ(sent<StageError>(), 1);
  run.on_forward(forward(1, 0));
  context_.now_us += 1'100'000;
  run.tick();
  EXPECT_EQ(sent<StageError>(), 0);
}

}  // namespace
}  // namespace exo
