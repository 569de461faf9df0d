// Whole rings of stages on FakeEngines, driven by seed: any interleaving of stages and links, lost
// tails of runs, cancels and shared prefixes. Whatever happens, each answer is the one the model
// would have given alone, and nothing is left behind.
#include "inference/stage_runner.h"

#include <gtest/gtest.h>

#include "inference/fake_engine.h"
#include "inference/ring_under_test.h"
#include "inference/sequence_images.h"

namespace exo {
namespace {

constexpr int kLayers = 5;
constexpr int kImageTokens = 6;
constexpr TokenId kImageToken = 63;

std::shared_ptr<const Image> picture(uint8_t color) {
  return std::make_shared<Image>(Image{1, 1, {color, color, color}});
}

Placement make_placement(int stages, int kv_tokens, WireDtype wire) {
  Placement placement;
  placement.id = {11};
  placement.epoch = 3;
  placement.card.layer_count = kLayers;
  placement.card.vocab_size = 64;
  placement.card.vision = true;
  placement.card.image_size = 1;
  placement.card.image_tokens = kImageTokens;
  placement.card.image_token = kImageToken;
  placement.context_length = 96;
  placement.kv_capacity_tokens = kv_tokens;
  placement.wire_dtype = wire;
  for (int i = 0; i < stages; ++i) {
    Stage stage;
    stage.shard.layer_begin = kLayers * i / stages;
    stage.shard.layer_end = kLayers * (i + 1) / stages;
    stage.shard.layer_count = kLayers;
    placement.stages.push_back(stage);
  }
  return placement;
}

Ring fake_ring(uint64_t seed, int stages, int kv_tokens, WireDtype wire = WireDtype::f32) {
  return Ring(seed, make_placement(stages, kv_tokens, wire),
              [](const Placement& p, size_t i) { return make_fake_engine(p, i); });
}

std::vector<TokenId> expected_ids(const SessionOpen& open, size_t count) {
  std::vector<TokenId> ids = open.prompt_ids;
  ids.insert(ids.end(), open.emitted_ids.begin(), open.emitted_ids.end());
  const size_t begin = ids.size();
  while (ids.size() < begin + count)
    ids.push_back(fake_greedy_token(ids, kLayers, 64, open.images));
  return {ids.begin() + static_cast<ptrdiff_t>(begin), ids.end()};
}

SessionOpen make_request(std::mt19937_64& random, uint64_t session,
                         const std::map<SessionId, Answer>& past) {
  SessionOpen open;
  open.session = {session};
  open.sampling.temperature = 0;
  open.sampling.max_tokens = 1 + static_cast<int>(random() % 12);
  if (random() % 3 == 0) open.sampling.stop_ids = {static_cast<TokenId>(random() % 64)};
  if (!past.empty() && random() % 2 == 0) {  // continues an earlier conversation
    const auto& earlier = std::next(past.begin(), static_cast<ptrdiff_t>(random() % past.size()));
    open.prompt_ids = earlier->second.open.prompt_ids;
    const auto& said = earlier->second.ids;
    open.prompt_ids.insert(open.prompt_ids.end(), said.begin(), said.end());
    if (open.prompt_ids.size() > 60) open.prompt_ids.resize(60);
    const int length = static_cast<int>(open.prompt_ids.size());
    open.images = images_within(earlier->second.open.images, 0, length);
    std::erase_if(open.images, [&](const PlacedImage& placed) {
      return placed.first_position + placed.token_count > length;
    });
    // The same ids, but another picture.
    if (!open.images.empty() && random() % 3 == 0) open.images.back().image = picture(9);
  }
  if (random() % 3 == 0) {
    const int position = static_cast<int>(open.prompt_ids.size());
    open.images.push_back({picture(static_cast<uint8_t>(random() % 3)), position, kImageTokens});
    open.prompt_ids.insert(open.prompt_ids.end(), kImageTokens, kImageToken);
  }
  const size_t more = 1 + random() % 20;
  for (size_t i = 0; i < more; ++i) open.prompt_ids.push_back(static_cast<TokenId>(random() % 64));
  return open;
}

void check_answers(const std::map<SessionId, Answer>& answers) {
  for (const auto& [id, answer] : answers) {
    EXPECT_GE(answer.accepted, 1);
    EXPECT_EQ(answer.ids, expected_ids(answer.open, answer.ids.size()));
    EXPECT_TRUE(answer.closed || answer.finish != FinishReason::none) << "session " << id.value;
    if (answer.finish == FinishReason::length) {
      EXPECT_EQ(static_cast<int>(answer.ids.size() + answer.open.emitted_ids.size()),
                answer.open.sampling.max_tokens);
    }
  }
}

void run_seed(uint64_t seed, bool disturbed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed * 77 + 1);
  const int stages = 1 + static_cast<int>(random() % 4);
  const int kv_tokens = 96 + 8 * static_cast<int>(random() % 30);
  Ring ring = fake_ring(seed, stages, kv_tokens, seed % 2 == 0 ? WireDtype::f32 : WireDtype::bf16);
  const int requests = 3 + static_cast<int>(random() % 20);
  for (int i = 0; i < requests; ++i) {
    ring.open(make_request(random, static_cast<uint64_t>(i + 1), ring.answers()));
    for (uint64_t moves = random() % 60; moves > 0; --moves) ring.advance();
    if (disturbed && random() % 3 == 0) ring.disturb();
    if (disturbed && random() % 5 == 0) ring.lose_a_result();
    if (random() % 6 == 0) ring.close({1 + random() % static_cast<uint64_t>(i + 1)});
  }
  ring.settle();
  check_answers(ring.answers());
  for (const auto& [id, answer] : ring.answers()) ring.close(id);
  ring.settle();
  EXPECT_EQ(ring.head().running, 0);
  EXPECT_EQ(ring.head().waiting, 0);
  EXPECT_EQ(ring.tail().tail_sessions, 0);
  // Nothing leaked: a request that needs all the room gets it.
  SessionOpen all;
  all.session = {1000};
  all.sampling.temperature = 0;
  all.sampling.max_tokens = 3;
  for (int i = 0; i < 90; ++i) all.prompt_ids.push_back(static_cast<TokenId>((seed + i) % 64));
  ring.open(all);
  ring.settle();
  EXPECT_EQ(ring.answers()[{1000}].ids, expected_ids(all, 3));
}

TEST(StageRunner, EveryAnswerIsTheOneGivenAlone) {
  for (uint64_t seed = 0; seed < 200; ++seed) run_seed(seed, false);
}

TEST(StageRunner, NewRunsLoseAndRepeatNothing) {
  for (uint64_t seed = 100; seed < 500; ++seed) run_seed(seed, true);
}

TEST(StageRunner, EmittedIdsAreForced) {
  Ring ring = fake_ring(1, 2, 200);
  SessionOpen open;
  open.session = {1};
  open.sampling.temperature = 0;
  open.sampling.max_tokens = 10;
  open.prompt_ids = {1, 2, 3};
  open.emitted_ids = {60, 61, 62};  // not what the model would say
  ring.open(open);
  ring.settle();
  EXPECT_EQ(ring.answers()[{1}].ids, expected_ids(open, 7));
}

TEST(StageRunner, AFailedStepIsReportedAndANewRunGoesOn) {
  const Placement placement = make_placement(1, 200, WireDtype::f32);
  FakeEngineOptions fake;
  fake.shard = placement.stages[0].shard;
  fake.block_count = 25;
  fake.fail_step = 2;
  const auto runner = make_stage_runner(placement, 0, make_fake_engine(fake), {});
  SessionOpen open;
  open.session = {1};
  open.sampling.temperature = 0;
  open.sampling.max_tokens = 5;
  open.prompt_ids = {9, 8, 7};
  runner->submit(open);
  std::vector<TokenId> ids;
  int errors = 0;
  while (runner->has_work())
    for (const StageEvent& event : runner->step()) {
      if (std::holds_alternative<StageError>(event)) {
        ++errors;
        EXPECT_FALSE(runner->has_work());
        runner->submit(StartNewRun{});
      }
      if (const auto* result = std::get_if<BatchResult>(&event))
        for (const TokenEvent& token : result->tokens) ids.push_back(token.ids[0]);
    }
  EXPECT_EQ(errors, 1);
  EXPECT_EQ(ids, expected_ids(open, 5));
}

}  // namespace
}  // namespace exo
