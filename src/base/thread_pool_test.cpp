#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>

namespace exo {
namespace {

TEST(ThreadPool, EveryIndexOnceWhateverTheSizes) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int round = 0; round < 300; ++round) {
      const int64_t count = round % 37, chunk = 1 + round % 5;
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      std::atomic<bool> good{true};
      pool.parallel_for(count, chunk, [&](int64_t begin, int64_t end, int worker) {
        if (worker < 0 || worker >= threads || end - begin > chunk) good = false;
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      EXPECT_TRUE(good);
      for (const auto& hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ThreadPool, SumsAreVisibleToTheCaller) {
  ThreadPool pool(3);
  std::vector<int64_t> parts(1000);
  for (int round = 0; round < 1000; ++round) {
    pool.parallel_for(1000, 10, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) parts[static_cast<size_t>(i)] = i + round;
    });
    ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), int64_t{0}), 499500 + 1000 * round);
  }
}

}  // namespace
}  // namespace exo
