#include "inference/block_manager.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace exo {
namespace {

SessionId id(uint64_t value) { return {value}; }

TEST(BlockManager, TakesSharesTrimsAndReleases) {
  BlockManager blocks(6, 4);
  ASSERT_TRUE(blocks.write(id(1), 0, 9).ok());
  EXPECT_EQ(blocks.blocks(id(1)).size(), 3u);
  EXPECT_EQ(blocks.free_blocks(), 3);
  ASSERT_TRUE(blocks.share(id(1), id(2), 8).ok());
  EXPECT_EQ(blocks.free_blocks(), 3);
  ASSERT_TRUE(blocks.write(id(2), 8, 4).ok());
  EXPECT_EQ(blocks.blocks(id(2))[1], blocks.blocks(id(1))[1]);
  EXPECT_NE(blocks.blocks(id(2))[2], blocks.blocks(id(1))[2]);
  EXPECT_EQ(blocks.unshared_blocks(id(1), 0), 1);
  blocks.release(id(1));
  EXPECT_EQ(blocks.free_blocks(), 3);
  blocks.trim(id(2), 5);
  EXPECT_EQ(blocks.free_blocks(), 4);
  EXPECT_EQ(blocks.length(id(2)), 5);
  blocks.trim(id(2), 0);
  EXPECT_EQ(blocks.free_blocks(), 6);
  EXPECT_EQ(blocks.sequences(), 0);
}

TEST(BlockManager, RefusesWhatBreaksTheRulesAndChangesNothing) {
  BlockManager blocks(3, 4);
  EXPECT_EQ(blocks.write(id(1), 1, 1).error().code, ErrorCode::corrupt);
  EXPECT_EQ(blocks.write(id(1), 0, 13).error().code, ErrorCode::resource_exhausted);
  EXPECT_EQ(blocks.write(id(1), -1, 2).error().code, ErrorCode::corrupt);
  EXPECT_EQ(blocks.write(id(1), 0, 2147483647).error().code, ErrorCode::resource_exhausted);
  ASSERT_TRUE(blocks.write(id(1), 0, 8).ok());
  EXPECT_FALSE(blocks.share(id(1), id(2), 6).ok());
  EXPECT_FALSE(blocks.share(id(1), id(2), 12).ok());
  EXPECT_FALSE(blocks.share(id(1), id(1), 4).ok());
  EXPECT_FALSE(blocks.share(id(3), id(2), 4).ok());
  ASSERT_TRUE(blocks.share(id(1), id(2), 4).ok());
  EXPECT_EQ(blocks.write(id(1), 3, 1).error().code, ErrorCode::corrupt);
  EXPECT_EQ(blocks.free_blocks(), 1);
}

// Two managers given the same commands hold the same tables, and every block is either free or
// held as often as tables name it.
TEST(BlockManager, IsAFunctionOfItsCommands) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    BlockManager one(24, 4), two(24, 4);
    for (int step = 0; step < 400; ++step) {
      const SessionId a = id(random() % 6), b = id(random() % 6);
      const int number = static_cast<int>(random() % 20);
      bool same = true;
      switch (random() % 4) {
        case 0:
          same =
              one.write(a, one.length(a), number).ok() == two.write(a, two.length(a), number).ok();
          break;
        case 1:
          same = one.apply(ShareSequence{a, b, number}).ok() ==
                 two.apply(ShareSequence{a, b, number}).ok();
          break;
        case 2:
          one.trim(a, number), two.trim(a, number);
          break;
        default:
          if (number < 5) one.release(a), two.release(a);
      }
      ASSERT_TRUE(same);
      std::set<int32_t> held;
      for (uint64_t session = 0; session < 6; ++session) {
        const auto mine = one.blocks(id(session)), other = two.blocks(id(session));
        ASSERT_TRUE(std::equal(mine.begin(), mine.end(), other.begin(), other.end()));
        ASSERT_EQ(static_cast<int>(mine.size()), one.blocks_for(one.length(id(session))));
        held.insert(mine.begin(), mine.end());
      }
      ASSERT_EQ(static_cast<int>(held.size()) + one.free_blocks(), 24) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace exo
