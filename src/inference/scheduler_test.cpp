#include "inference/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace exo {
namespace {

using testing::HasSubstr;

constexpr PlacementId kPlacement{7};

SchedulerOptions options(int stages = 1) {
  SchedulerOptions options;
  options.placement = kPlacement;
  options.stages = stages;
  options.block_size = 4;
  options.block_count = 1000;
  options.context_length = 4000;
  options.vocab_size = 100000;
  return options;
}
SessionOpen request(uint64_t session, int prompt, int max_tokens, TokenId first_id = 0) {
  SessionOpen open;
  open.placement = kPlacement;
  open.session = {session};
  open.sampling.max_tokens = max_tokens;
  open.prompt_ids.resize(static_cast<size_t>(prompt));
  std::iota(open.prompt_ids.begin(), open.prompt_ids.end(), first_id);
  return open;
}
// The tail's answer: token 5 for every entry that samples.
BatchResult answer(const Batch& batch, FinishReason finish = FinishReason::none) {
  BatchResult result{batch.placement, batch.epoch, batch.run, batch.number, {}};
  for (const BatchEntry& entry : batch.entries)
    if (entry.logit_rows > 0)
      result.tokens.push_back({entry.session, entry.first_position + entry.count, {5}, {}, finish});
  return result;
}
const BatchEntry* entry_of(const Batch& batch, uint64_t session) {
  for (const BatchEntry& entry : batch.entries)
    if (entry.session.value == session) return &entry;
  return nullptr;
}
int cached_tokens(const std::vector<StageEvent>& answers) {
  return std::get<SessionAccepted>(answers.back()).cached_tokens;
}

TEST(Scheduler, ALongPromptDoesNotStallARunningAnswer) {
  Scheduler scheduler(options());
  scheduler.open(request(1, 3, 100));
  scheduler.commit(answer(*scheduler.next()));
  scheduler.open(request(2, 3000, 10));
  int batches = 0;
  while (const auto batch = scheduler.next()) {
    ASSERT_NE(entry_of(*batch, 1), nullptr);
    EXPECT_LE(batch->rows(), 129);
    const bool finished = entry_of(*batch, 2) != nullptr && entry_of(*batch, 2)->logit_rows == 1;
    scheduler.commit(answer(*batch));
    ++batches;
    if (finished) break;
  }
  EXPECT_EQ(batches, (3000 + 127) / 128);
}

TEST(Scheduler, AShortPromptDoesNotWaitForALongOne) {
  Scheduler scheduler(options());
  scheduler.open(request(1, 3000, 10));
  scheduler.open(request(2, 20, 10));
  const auto batch = scheduler.next();
  ASSERT_NE(entry_of(*batch, 2), nullptr);
  EXPECT_EQ(entry_of(*batch, 2)->logit_rows, 1);
  EXPECT_EQ(entry_of(*batch, 1)->count, 512 - 20);
}

TEST(Scheduler, KeepsEveryStageBusy) {
  Scheduler scheduler(options(2));
  for (uint64_t session = 1; session <= 8; ++session)
    scheduler.open(request(session, 2, 100, static_cast<TokenId>(session * 10)));
  scheduler.commit(answer(*scheduler.next()));
  const auto one = scheduler.next();
  const auto two = scheduler.next();
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->entries.size(), 4u);
  EXPECT_EQ(two->entries.size(), 4u);
  EXPECT_FALSE(scheduler.next());  // as many in flight as there are stages
  scheduler.commit(answer(*one));
  EXPECT_EQ(scheduler.next()->entries.size(), 4u);
  // Chunks of one prompt follow each other without waiting.
  Scheduler prefill(options(3));
  prefill.open(request(1, 1000, 10));
  EXPECT_EQ(prefill.next()->entries[0].first_position, 0);
  EXPECT_EQ(prefill.next()->entries[0].first_position, 128);
  EXPECT_EQ(prefill.next()->entries[0].first_position, 256);
}

TEST(Scheduler, AContinuedChatStartsFromItsPast) {
  Scheduler scheduler(options());
  scheduler.open(request(1, 10, 2));
  scheduler.commit(answer(*scheduler.next()));
  scheduler.commit(answer(*scheduler.next(), FinishReason::length));  // ids 0..9, 5, 5
  scheduler.close({1});
  EXPECT_EQ(scheduler.stats().cached, 1);
  scheduler.take_answers();

  SessionOpen next = request(2, 10, 2);
  next.prompt_ids.insert(next.prompt_ids.end(), {5, 5, 77, 78});
  scheduler.open(next);
  EXPECT_EQ(cached_tokens(scheduler.take_answers()), 8);  // 11 positions held: two whole blocks
  const auto batch = scheduler.next();
  ASSERT_EQ(batch->commands.size(), 1u);
  EXPECT_EQ(std::get<ShareSequence>(batch->commands[0]).length, 8);
  EXPECT_EQ(batch->entries[0].first_position, 8);
  // The same prompt again shares all but what is needed for its first token.
  scheduler.commit(answer(*batch));
  scheduler.open(request(3, 8, 1));
  EXPECT_EQ(cached_tokens(scheduler.take_answers()), 4);
}

// 3 ids, a picture of 10, then more ids.
SessionOpen request_with_picture(uint64_t session, int prompt, uint8_t color) {
  SessionOpen open = request(session, prompt, 2);
  std::fill_n(open.prompt_ids.begin() + 3, 10, 99);
  const auto image = std::make_shared<Image>(Image{2, 2, std::vector<uint8_t>(12, color)});
  open.images = {{image, 3, 10}};
  return open;
}

SchedulerOptions vision_options() {
  SchedulerOptions vision = options();
  vision.images = {.size = 2, .tokens = 10, .token = 99};
  vision.max_batch_rows = 8;
  return vision;
}

TEST(Scheduler, EachBatchGetsThePicturesItNeeds) {
  Scheduler scheduler(vision_options());
  scheduler.open(request_with_picture(1, 30, 7));
  std::vector<size_t> pictures;
  while (const auto batch = scheduler.next()) {
    pictures.push_back(batch->entries[0].images.size());
    const bool last = batch->entries[0].logit_rows > 0;
    scheduler.commit(answer(*batch, FinishReason::stop));
    if (last) break;
  }
  EXPECT_EQ(pictures, (std::vector<size_t>{1, 1, 0, 0}));  // positions 3 to 12, 8 rows at a time
}

TEST(Scheduler, PrefixesAreSharedAsFarAsThePicturesAreTheSame) {
  Scheduler scheduler(vision_options());
  scheduler.open(request_with_picture(1, 30, 7));
  while (const auto batch = scheduler.next()) scheduler.commit(answer(*batch, FinishReason::stop));
  scheduler.close({1});
  scheduler.take_answers();
  const auto cached = [&](const SessionOpen& open) {
    scheduler.open(open);
    const int tokens = cached_tokens(scheduler.take_answers());
    while (const auto batch = scheduler.next())
      scheduler.commit(answer(*batch, FinishReason::stop));
    scheduler.close(open.session);
    scheduler.take_answers();
    return tokens;
  };
  EXPECT_EQ(cached(request_with_picture(2, 40, 8)), 0);  // another picture at position 3
  EXPECT_EQ(cached(request_with_picture(3, 40, 7)), 28);
  SessionOpen blind = request_with_picture(4, 40, 7);
  blind.images.clear();
  EXPECT_EQ(cached(blind), 0);
}

TEST(Scheduler, RefusesPicturesThatDoNotFit) {
  const auto refusal = [](const SessionOpen& open, const SchedulerOptions& options) {
    Scheduler scheduler(options);
    scheduler.open(open);
    const std::vector<StageEvent> answers = scheduler.take_answers();
    const auto* refused = std::get_if<SessionRefused>(&answers.back());
    return refused == nullptr ? std::string("accepted") : refused->error.message;
  };
  const SessionOpen good = request_with_picture(1, 30, 7);
  EXPECT_EQ(refusal(good, vision_options()), "accepted");
  EXPECT_EQ(refusal(good, options()), "this model takes text only");
  SessionOpen bad = good;
  bad.images[0].first_position = 4;
  EXPECT_THAT(refusal(bad, vision_options()), HasSubstr("image token"));
  bad = good;
  bad.images.push_back(bad.images[0]);  // twice the same place
  EXPECT_THAT(refusal(bad, vision_options()), HasSubstr("room"));
  bad = good;
  bad.images[0].first_position = std::numeric_limits<int>::max();
  EXPECT_THAT(refusal(bad, vision_options()), HasSubstr("room"));
  bad = good;
  bad.images[0].image = std::make_shared<Image>(Image{2, 2, {1, 2, 3}});
  EXPECT_THAT(refusal(bad, vision_options()), HasSubstr("pixels"));
}

TEST(Scheduler, RoomIsPromisedBeforeItIsUsed) {
  SchedulerOptions small = options();
  small.block_count = 10;
  small.context_length = 40;
  small.max_queue = 2;
  Scheduler scheduler(small);
  scheduler.open(request(1, 5, 20));      // 24 positions: 6 blocks
  scheduler.open(request(2, 5, 12, 50));  // 16 positions: 4 blocks
  scheduler.open(request(3, 5, 4, 100));
  scheduler.open(request(4, 5, 4, 150));
  EXPECT_EQ(scheduler.stats().running, 2);
  EXPECT_EQ(scheduler.stats().waiting, 2);
  scheduler.open(request(5, 5, 4));
  auto refused = std::get<SessionRefused>(scheduler.take_answers().back());
  EXPECT_EQ(refused.error.code, ErrorCode::resource_exhausted);
  scheduler.open(request(6, 40, 4));
  refused = std::get<SessionRefused>(scheduler.take_answers().back());
  EXPECT_EQ(refused.error.code, ErrorCode::invalid_argument);
  scheduler.close({1});
  EXPECT_EQ(scheduler.stats().running, 3);
  EXPECT_EQ(scheduler.stats().waiting, 0);
}

TEST(Scheduler, ClosedSessionsLeaveAtOnce) {
  Scheduler scheduler(options());
  scheduler.open(request(1, 2, 100));
  const auto batch = scheduler.next();
  scheduler.close({1});
  scheduler.commit(answer(*batch));
  const auto flush = scheduler.next();  // idle, but the stages still hold the sequence
  ASSERT_TRUE(flush);
  EXPECT_TRUE(flush->entries.empty());
  EXPECT_EQ(std::get<ReleaseSequence>(flush->commands[0]).session.value, 1u);
  scheduler.commit(answer(*flush));
  EXPECT_FALSE(scheduler.ready());
  EXPECT_EQ(scheduler.stats().free_blocks, 1000);
  scheduler.take_answers();
  scheduler.open(request(1, 2, 100));  // a repeat that came late
  EXPECT_TRUE(std::holds_alternative<SessionRefused>(scheduler.take_answers().back()));
}

TEST(Scheduler, ANewRunStartsFromWhatIsCommitted) {
  Scheduler scheduler(options(3));
  scheduler.open(request(1, 200, 10));
  scheduler.open(request(2, 3, 10, 500));
  const auto first = scheduler.next();
  const auto second = scheduler.next();
  scheduler.commit(answer(*first));
  const int committed = entry_of(*first, 1)->count;
  scheduler.start_new_run();
  scheduler.commit(answer(*second));  // of the old run: ignored
  const auto batch = scheduler.next();
  EXPECT_EQ(batch->run, 1u);
  EXPECT_EQ(batch->number, 0u);
  ASSERT_EQ(batch->commands.size(), 2u);
  EXPECT_EQ(std::get<TrimSequence>(batch->commands[0]).length, committed);
  EXPECT_EQ(entry_of(*batch, 1)->first_position, committed);
  EXPECT_EQ(entry_of(*batch, 2)->first_position, 3);
}

}  // namespace
}  // namespace exo
