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

TEST(FileClaims, OtherFilesAndCommitsAreOther) {
  FileClaims claims;
  claims.open(kFile, range(0, 100));
  EXPECT_EQ(claims.answer({"hf.co/org/model@d", kFile.file}, range(0, 100), true), RangeSet());
  EXPECT_EQ(claims.answer({kFile.source, "config.json"}, range(0, 100), true), RangeSet());
  EXPECT_EQ(claims.settle(kFile, {}), range(0, 100));
}

}  // namespace
}  // namespace exo
