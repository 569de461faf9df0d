#include "download/file_claims.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

const FileName kFile{"hf.co/org/model@c", "model.safetensors"};
RangeSet range(uint64_t begin, uint64_t end) { return RangeSet(ByteRange{begin, end}); }

TEST(FileClaims, OfTwoThatAnnounceAtOnceTheSmallerIdFetches) {
  FileClaims smaller, larger;
  smaller.open(kFile, range(0, 100));
  larger.open(kFile, range(50, 200));
  const RangeSet at_smaller = smaller.answer(kFile, range(50, 200), /*asker_first=*/false);
  const RangeSet at_larger = larger.answer(kFile, range(0, 100), /*asker_first=*/true);
  EXPECT_EQ(smaller.settle(kFile, at_larger), range(0, 100));
  EXPECT_EQ(larger.settle(kFile, at_smaller), range(100, 200));
}

TEST(FileClaims, WhatIsSettledStaysWithWhoeverHasIt) {
  FileClaims first, second;
  first.open(kFile, range(0, 100));
  EXPECT_EQ(first.settle(kFile, {}), range(0, 100));
  second.open(kFile, range(0, 100));
  const RangeSet coming = first.answer(kFile, range(0, 100), /*asker_first=*/true);
  EXPECT_EQ(second.settle(kFile, coming), RangeSet());
  first.end(kFile);
  EXPECT_EQ(first.answer(kFile, range(0, 100), false), RangeSet());
}

TEST(FileClaims, WhoAsksLaterGetsHalfOfWhatTheHubWasNotAskedForYet) {
  constexpr uint64_t kMiB = 1u << 20;
  FileClaims first, second;
  first.open(kFile, range(0, 10 * kMiB));
  first.settle(kFile, {});
  EXPECT_EQ(first.take(kFile, {0, 2 * kMiB}), range(0, 2 * kMiB));
  second.open(kFile, range(0, 10 * kMiB));
  const RangeSet coming = first.answer(kFile, range(0, 10 * kMiB), false);
  EXPECT_EQ(coming, range(0, 6 * kMiB));
  EXPECT_EQ(second.settle(kFile, coming), range(6 * kMiB, 10 * kMiB));
  EXPECT_EQ(first.take(kFile, {5 * kMiB, 7 * kMiB}), range(5 * kMiB, 6 * kMiB));
  EXPECT_EQ(first.take(kFile, {6 * kMiB, 10 * kMiB}), RangeSet());
  // Less than two MiB are left: that stays where it is.
  EXPECT_EQ(second.take(kFile, {6 * kMiB, 9 * kMiB}), range(6 * kMiB, 9 * kMiB));
  EXPECT_EQ(second.answer(kFile, range(0, 10 * kMiB), true), range(6 * kMiB, 10 * kMiB));
}

TEST(FileClaims, WhatIsGivenAwayIsOnlyWhatTheOtherWants) {
  constexpr uint64_t kMiB = 1u << 20;
  FileClaims claims;
  claims.open(kFile, range(0, 8 * kMiB));
  claims.settle(kFile, {});
  EXPECT_EQ(claims.answer(kFile, range(0, 4 * kMiB), false), range(0, 2 * kMiB));
  EXPECT_EQ(claims.take(kFile, {4 * kMiB, 8 * kMiB}), range(4 * kMiB, 8 * kMiB));
}

TEST(FileClaims, OtherFilesAndCommitsAreOther) {
  FileClaims claims;
  claims.open(kFile, range(0, 100));
  EXPECT_EQ(claims.answer({"hf.co/org/model@d", kFile.file}, range(0, 100), true), RangeSet());
  EXPECT_EQ(claims.answer({kFile.source, "config.json"}, range(0, 100), true), RangeSet());
  EXPECT_EQ(claims.settle(kFile, {}), range(0, 100));
}

}  // namespace
}  // namespace exo
