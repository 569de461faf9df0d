// ThreadPool: a fixed set of named threads for parallel loops. The caller of parallel_for() works
// too, and returns when every chunk is done. Between loops the workers spin for some microseconds,
// then sleep; an idle pool uses no CPU. Chunks are handed out one by one, so a thread that the
// system takes away holds up its own chunk only. One loop at a time (one owner thread); bodies must
// not call parallel_for() of the same pool and must not throw.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

namespace exo {

class ThreadPool {
 public:
  // `threads` includes the caller: 1 starts none. 0 = the machine's cores.
  explicit ThreadPool(int threads, std::string_view name = "exo-compute");
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // body(begin, end, worker) for consecutive pieces of [0, count), each `chunk` long (the last may
  // be shorter). worker is in [0, size()): an index for scratch memory.
  template <class Body>
  void parallel_for(int64_t count, int64_t chunk, Body&& body) {
    const Job job{[](void* context, int64_t begin, int64_t end, int worker) {
                    (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end, worker);
                  },
                  const_cast<void*>(static_cast<const void*>(&body)), count, chunk};
    run(job);
  }

 private:
  struct Job {
    void (*body)(void* context, int64_t begin, int64_t end, int worker);
    void* context;
    int64_t count;
    int64_t chunk;
  };

  void run(const Job& job);
  void work(const Job& job, int worker);
  void worker_main(int worker, const std::string& name);
  uint64_t wait_for_job(uint64_t seen);
  bool join(uint64_t generation, Job& job);
  void leave();

  // What many threads write lies in a line of its own. Nobody takes the mutex but to sleep and to
  // wake: many workers that come at once would queue up for it.
  static constexpr uint64_t kInside = 0xffff;  // how many workers are inside the job
  static constexpr uint64_t kOpen = 0x10000;   // workers may still join it
  static constexpr int kGenerationShift = 17;
  alignas(64) std::atomic<uint64_t> generation_{0};  // counts jobs
  alignas(64) std::atomic<uint64_t> state_{0};       // generation, kOpen, kInside
  alignas(64) std::atomic<int64_t> next_{0};         // first index nobody has taken
  alignas(64) Job job_{};                            // written while nobody is inside
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
};

}  // namespace exo
