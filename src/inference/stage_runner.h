// StageRunner: one Stage of a Placement on this machine. Head: Scheduler and BlockManager decide
// the next Batch (schedule, run, commit). Tail: the Sampler. In between: apply and pass on. Knows
// no network, no thread and no clock: the driver runs it on an engine thread, the simulator in
// virtual time.
//
// Owned by one thread: submit() commands, then call step() until it returns nothing to do.
#pragma once

#include <memory>
#include <vector>

#include "core/placement.h"
#include "core/stage_io.h"
#include "inference/inference_engine.h"

namespace exo {

struct StageRunnerOptions {
  int max_batch_rows = 512;  // prefill chunk budget of one batch
  int max_sequences = 64;    // running at once; more wait in the queue
  int max_queue = 1024;      // waiting sessions; more are refused (429)
};

// For metrics, the web page and tests that look for leaks. Zero where a stage is not the head.
struct StageStats {
  int running = 0;
  int waiting = 0;
  int cached_sequences = 0;  // finished ones kept as prefixes
  int batches_in_flight = 0;
  int kv_blocks = 0;
  int kv_blocks_free = 0;
  int tail_sessions = 0;       // on the tail: sessions opened and not closed
  uint64_t prompt_tokens = 0;  // since the start
  uint64_t cached_tokens = 0;  // of them, not computed again
  uint64_t output_tokens = 0;
};

class StageRunner {
 public:
  virtual ~StageRunner() = default;
  virtual void submit(StageCommand command) = 0;
  virtual bool has_work() const = 0;
  virtual std::vector<StageEvent> step() = 0;  // at most one batch computed per call
  virtual StageStats stats() const { return {}; }
};

std::unique_ptr<StageRunner> make_stage_runner(const Placement& placement, size_t stage_index,
                                               std::unique_ptr<InferenceEngine> engine,
                                               StageRunnerOptions options);

}  // namespace exo
