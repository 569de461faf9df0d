#include "inference/local_engine.h"

#include <gtest/gtest.h>

#include "inference/generate_local.h"
#include "inference/ring_under_test.h"

namespace exo {
namespace {

const std::filesystem::path kModel =
    std::filesystem::path(EXO_SOURCE_DIR) / "tests/golden/models/llama3/f32";

struct Way {
  const char* backend;
  bool exact;
  WeightFormat format;
};

Placement make_placement(const ModelFiles& model, int stages, const Way& way) {
  Placement placement;
  placement.id = {5};
  placement.card = model.card;
  placement.context_length = 128;
  placement.kv_capacity_tokens = 256;
  placement.exact = way.exact;
  placement.weight_format = way.format;
  const int layers = model.card.layer_count;
  for (int i = 0; i < stages; ++i)
    placement.stages.push_back(
        {{}, {model.card.id, layers * i / stages, layers * (i + 1) / stages, layers}});
  return placement;
}

Ring make_ring(const ModelFiles& model, uint64_t seed, int stages, const Way& way) {
  return Ring(seed, make_placement(model, stages, way), [&](const Placement& placement, size_t i) {
    BackendOptions backend;
    backend.threads = 1 + static_cast<int>(seed % 2);
    return make_local_engine(model, engine_options(placement, i, way.backend, backend)).value();
  });
}

SessionOpen request(uint64_t session, int prompt) {
  SessionOpen open;
  open.session = {session};
  for (int i = 0; i < prompt; ++i) open.prompt_ids.push_back((i * 37 + 11) % 288);
  open.prompt_ids.push_back(static_cast<TokenId>(session));  // a shared beginning, another end
  open.sampling.seed = session;
  open.sampling.max_tokens = 6;
  open.sampling.top_logprobs = 1;
  open.sampling.repetition_penalty = 1.1;
  return open;
}

// Sampled answers under load, over two stages, with shared prefixes and lost batches, are those of
// a machine that does one request at a time.
void check_company(const Way& way) {
  const ModelFiles model = open_model(kModel).value();
  Ring ring = make_ring(model, 3, 2, way);
  for (uint64_t session = 1; session <= 8; ++session) {
    ring.open(request(session, session % 2 == 0 ? 40 : 7));
    for (int moves = 0; moves < 12; ++moves) ring.advance();
    if (session % 3 == 0) ring.disturb();
  }
  ring.settle();
  EXPECT_GT(ring.head().cached_tokens, 0u);
  for (const auto& [id, answer] : ring.answers()) {
    Ring alone = make_ring(model, 0, 1, way);
    alone.open(answer.open);
    alone.settle();
    EXPECT_EQ(answer.ids.size(), 6u);
    EXPECT_EQ(answer.ids, alone.answers()[id].ids) << "session " << id.value;
    EXPECT_EQ(answer.finish, FinishReason::length);
  }
}

TEST(LocalEngine, AnswersDoNotDependOnCompany) {
  check_company({"reference", true, WeightFormat::as_stored});
}
TEST(LocalEngine, AnswersDoNotDependOnCompanyOnTheFastPath) {
  check_company({"cpu", false, WeightFormat::as_stored});
  check_company({"cpu", false, WeightFormat::q8_0});
  check_company({"cpu", false, WeightFormat::q4_0});
}

TEST(LocalEngine, HiddenStatesMayTravelAsBf16) {
  const ModelFiles model = open_model(kModel).value();
  LocalRingOptions options;
  options.backend = "reference";
  auto whole = LocalRing::load(model, options).value();
  options.shards = {{0, 2}, {2, 4}};
  options.wire_dtype = WireDtype::bf16;
  auto split = LocalRing::load(model, options).value();
  const std::vector<TokenId> ids = {1, 2, 3, 4, 5};
  const auto expected = whole.logits(ids).value(), found = split.logits(ids).value();
  float worst = 0;
  for (size_t i = 0; i < found.size(); ++i)
    worst = std::max(worst, std::abs(found[i] - expected[i]));
  EXPECT_GT(worst, 0);
  EXPECT_LT(worst, 0.5);
}

TEST(LocalEngine, WhatDoesNotFitIsAnError) {
  const ModelFiles model = open_model(kModel).value();
  LocalEngineOptions options;
  options.backend = "reference";
  options.shard = {"", 0, 4, 4};
  options.kv_capacity_tokens = 32;
  auto engine = make_local_engine(model, options).value();
  Batch batch;
  batch.entries = {{{1}, 0, {1, 2, 999}, 3, 1}};
  EXPECT_EQ(engine->step(batch, nullptr).error().code, ErrorCode::invalid_argument);
  batch.entries = {{{1}, 0, {1, 2}, 3, 1}};
  EXPECT_FALSE(engine->step(batch, nullptr).ok());
  batch.entries = {{{1}, 5, {1}, 1, 1}};
  EXPECT_FALSE(engine->step(batch, nullptr).ok());
  batch.entries = {{{1}, 0, std::vector<TokenId>(33, 1), 33, 1}};
  EXPECT_EQ(engine->step(batch, nullptr).error().code, ErrorCode::resource_exhausted);
  batch.entries = {{{1}, 0, {1, 2}, 2, 1}};
  EXPECT_EQ(engine->step(batch, nullptr)->logits.size(), 288u);

  options.shard = {"", 2, 4, 4};
  engine = make_local_engine(model, options).value();
  HiddenStates hidden{WireDtype::f32, 2, 63, std::make_shared<std::vector<std::byte>>(2 * 63 * 4)};
  EXPECT_FALSE(engine->step(batch, &hidden).ok());
  EXPECT_FALSE(engine->step(batch, nullptr).ok());
  options.shard = {"", 2, 5, 5};
  EXPECT_FALSE(make_local_engine(model, options).ok());
}

TEST(LocalRing, ChecksShardsAndLengths) {
  EXPECT_EQ(parse_shards("0:2,2:4").value(), (std::vector<std::pair<int, int>>{{0, 2}, {2, 4}}));
  for (const char* bad : {"", "0", "2:2", "0:2,", "a:b", "0:2;2:4", "0:2147483648"})
    EXPECT_FALSE(parse_shards(bad).ok()) << bad;
  const ModelFiles model = open_model(kModel).value();
  LocalRingOptions options;
  options.backend = "reference";
  for (const auto& shards : std::vector<std::vector<std::pair<int, int>>>{
           {{0, 2}, {3, 4}}, {{0, 3}}, {{0, 2}, {2, 5}}}) {
    options.shards = shards;
    EXPECT_FALSE(LocalRing::load(model, options).ok());
  }
  options.shards = {};
  auto ring = LocalRing::load(model, options).value();
  EXPECT_FALSE(ring.logits({}).ok());
  EXPECT_FALSE(ring.greedy(std::vector<TokenId>(500, 1), 20).ok());
  const BenchOptions shape{300, 2, 2, 9000};
  options.kv_capacity_tokens = bench_kv_tokens(model, shape);
  const auto bench = LocalRing::load(model, options)->bench(shape);
  ASSERT_TRUE(bench.ok()) << bench.error().message;
  EXPECT_EQ(bench->prompt_tokens, 300);
  EXPECT_EQ(bench->depth_tokens, 512 - 300 - 2);
}

}  // namespace
}  // namespace exo
