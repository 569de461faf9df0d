// StageThread: one loaded Shard at work. It owns an engine thread that loads the weights, builds
// the StageRunner, and then obeys commands; without one it sleeps. submit() is thread-safe and
// never waits. Answers come from the engine thread. stop() only asks; the destructor waits for the
// step in progress, so destroy it where no lock is held that `post` takes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/bounded_queue.h"
#include "core/placement.h"
#include "core/stage_io.h"
#include "inference/stage_runner.h"
#include "orchestration/core.h"

namespace exo {

// What a long load looks at and tells. On the engine thread.
struct LoadWatch {
  std::function<bool()> stopped;          // nobody wants it any more
  std::function<void(std::string)> tell;  // how far it is, for people
};

// Loads a stage's weights; on the engine thread, may take long.
using EngineFactory = std::function<Result<std::unique_ptr<InferenceEngine>>(
    const Placement& placement, size_t stage_index, const LoadWatch& watch)>;

class StageThread {
 public:
  struct Options {
    EngineFactory make_engine;
    StageRunnerOptions runner;
    std::function<void(CoreEvent)> post;  // ShardLoaded, ShardLoadFailed, StageOutput
  };
  StageThread(LoadShard load, Options options);
  ~StageThread();

  const Placement& placement() const { return load_.placement; }
  bool submit(StageCommand command);  // false: hopelessly behind, the command is lost
  void stop();
  bool finished() const { return finished_; }  // the destructor will not wait
  StageStats stats() const;                    // as of the last step

 private:
  void run();
  void serve(StageRunner& runner);
  void post(CoreEvent event);

  const LoadShard load_;
  const Options options_;
  BoundedQueue<StageCommand> commands_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> finished_ = false;
  mutable std::mutex stats_mutex_;
  StageStats stats_;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace exo
