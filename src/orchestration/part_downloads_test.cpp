#include "orchestration/part_downloads.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo {
namespace {

struct SetClock final : World {
  int64_t time_us = 1;
  int64_t now_us() const override { return time_us; }
  int64_t wall_time_ms() const override { return 0; }
  void random_bytes(std::span<std::byte> out) override {
    for (std::byte& byte : out) byte = std::byte{7};
  }
};

struct TwoOthers {
  SetClock clock;
  std::vector<PartRequest> asked;
  bool linked = true;
  PartDownloads parts{{.self = NodeId{"a"},
                       .downloads = nullptr,
                       .send =
                           [this](const NodeId&, Message message) {
                             asked.push_back(std::get<PartRequest>(message));
                             return linked;
                           },
                       .world = &clock}};
  uint64_t id = parts.start("hf.co/o/m", {{NodeId{"b"}, "desk", Shard{"m", 0, 2, 4}},
                                          {NodeId{"c"}, "lap", Shard{"m", 2, 4, 4}}});

  DownloadStatus after(int64_t seconds) {
    clock.time_us += seconds * 1'000'000;
    return parts.status(id)->all;
  }
  void answer(const char* node, DownloadState state, uint64_t done_bytes) {
    parts.on_status(NodeId{node}, {.request = id,
                                   .state = state,
                                   .error = {ErrorCode::unavailable, "the hub is down"},
                                   .total_bytes = 100,
                                   .done_bytes = done_bytes});
  }
};

using State = DownloadStatus::State;

TEST(PartDownloads, SumsWhatTheNodesSayAndEndsWithTheLast) {
  TwoOthers two;
  EXPECT_EQ(two.asked.size(), 2u);
  two.answer("b", DownloadState::done, 100);
  two.answer("c", DownloadState::running, 30);
  DownloadStatus all = two.after(1);
  EXPECT_EQ(all.state, State::running);
  EXPECT_EQ(all.done_bytes, 130u);
  EXPECT_EQ(all.total_bytes, 200u);
  EXPECT_EQ(two.asked.size(), 3u);  // only the one that goes on
  two.answer("c", DownloadState::done, 100);
  EXPECT_EQ(two.after(1).state, State::done);
}

TEST(PartDownloads, ListsWhatWasAskedForNewestFirst) {
  TwoOthers two;
  two.answer("b", DownloadState::done, 100);
  const uint64_t second =
      two.parts.start("hf.co/o/n", {{NodeId{"b"}, "desk", Shard{"n", 0, 4, 4}}});
  const auto list = two.parts.list();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].all.id, second);
  EXPECT_EQ(list[0].all.model, "n");
  EXPECT_EQ(list[1].all.done_bytes, 100u);
  EXPECT_EQ(list[1].nodes.size(), 2u);
}

TEST(PartDownloads, OneThatFailsSaysWho) {
  TwoOthers two;
  two.answer("b", DownloadState::running, 1);
  two.answer("c", DownloadState::failed, 0);
  EXPECT_EQ(two.after(1).error.message, "lap: the hub is down");
}

TEST(PartDownloads, SilenceIsAFailureButNotBeingLookedAtIsNone) {
  TwoOthers two;
  two.answer("b", DownloadState::running, 1);
  two.answer("c", DownloadState::running, 1);
  EXPECT_EQ(two.after(3600).state, State::running);  // nobody asked for an hour
  two.answer("b", DownloadState::running, 2);
  EXPECT_EQ(two.after(9).state, State::running);
  const DownloadStatus all = two.after(2);  // c was asked 11 seconds ago
  EXPECT_EQ(all.state, State::failed);
  EXPECT_EQ(all.error.message, "lap: it does not answer");
}

}  // namespace
}  // namespace exo
