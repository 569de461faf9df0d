#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

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

// Whether they still spin or sleep already when the loop begins.
TEST(ThreadPool, EveryWorkerComes) {
  constexpr int kThreads = 5;
  ThreadPool pool(kThreads);
  for (int round = 0; round < 60; ++round) {
    if (round % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> here{0};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    pool.parallel_for(kThreads, 1, [&](int64_t, int64_t, int) {
      ++here;
      while (here < kThreads && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    });
    ASSERT_EQ(here, kThreads);
  }
}

}  // namespace
}  // namespace exo
