#include "base/thread_pool.h"

#include <algorithm>

#include "base/check.h"
#include "base/cpu_relax.h"
#include "base/thread_name.h"

namespace exo {
namespace {

// Some tens of microseconds: longer than the gap between two ops of a decode step, short beside
// the ~50 us that waking a sleeping core costs.
constexpr int kSpins = 2000;

}  // namespace

ThreadPool::ThreadPool(int threads, std::string_view name) {
  if (threads <= 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (int i = 1; i < threads; ++i)
    workers_.emplace_back([this, i, text = std::string(name)] { worker_main(i, text); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  ++generation_;
  {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(const Job& job) {
  if (job.count <= 0) return;
  CHECK(job.chunk > 0, "parallel_for: chunk");
  if (workers_.empty() || job.count <= job.chunk) {
    for (int64_t i = 0; i < job.count; i += job.chunk)
      job.body(job.context, i, std::min(i + job.chunk, job.count), 0);
    return;
  }
  job_ = job;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  state_.store(generation << kGenerationShift | kOpen, std::memory_order_release);
  generation_.store(generation);  // then looks for sleepers, who look for it after saying so
  if (sleeping_.load() > 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  work(job, 0);
  // Who has not come yet finds nothing left.
  if ((state_.fetch_and(~kOpen, std::memory_order_acq_rel) & kInside) == 0) return;
  const auto all_left = [&] { return (state_.load(std::memory_order_acquire) & kInside) == 0; };
  for (int i = 0; i < kSpins; ++i) {
    if (all_left()) return;
    cpu_relax();
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, all_left);
}

void ThreadPool::work(const Job& job, int worker) {
  for (;;) {
    const int64_t begin = next_.fetch_add(job.chunk, std::memory_order_relaxed);
    if (begin >= job.count) return;
    job.body(job.context, begin, std::min(begin + job.chunk, job.count), worker);
  }
}

uint64_t ThreadPool::wait_for_job(uint64_t seen) {
  for (int i = 0; i < kSpins; ++i) {
    const uint64_t now = generation_.load(std::memory_order_acquire);
    if (now != seen) return now;
    cpu_relax();
  }
  std::unique_lock lock(mutex_);
  ++sleeping_;
  wake_.wait(lock, [&] { return generation_.load() != seen; });
  --sleeping_;
  return generation_.load();
}

// False: this job is over, or was never this worker's.
bool ThreadPool::join(uint64_t generation, Job& job) {
  uint64_t state = state_.load(std::memory_order_relaxed);
  do {
    if (state >> kGenerationShift != generation || (state & kOpen) == 0) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                         std::memory_order_relaxed));
  job = job_;
  return true;
}

void ThreadPool::leave() {
  const uint64_t before = state_.fetch_sub(1, std::memory_order_release);
  if ((before & kInside) != 1 || (before & kOpen) != 0) return;
  const std::lock_guard lock(mutex_);  // the owner may be between its check and its sleep
  done_.notify_one();
}

void ThreadPool::worker_main(int worker, const std::string& name) {
  set_thread_name(name);
  uint64_t seen = 0;
  Job job{};
  while (!stop_.load(std::memory_order_acquire)) {
    seen = wait_for_job(seen);
    if (!join(seen, job)) continue;
    work(job, worker);
    leave();
  }
}

}  // namespace exo
