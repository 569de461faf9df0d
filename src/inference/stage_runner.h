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
  int max_queue = 256;       // waiting sessions; more are refused (429)
};

class StageRunner {
 public:
  virtual ~StageRunner() = default;
  virtual void submit(StageCommand command) = 0;
  virtual bool has_work() const = 0;
  virtual std::vector<StageEvent> step() = 0;  // at most one batch computed per call
};

std::unique_ptr<StageRunner> make_stage_runner(const Placement& placement, size_t stage_index,
                                               std::unique_ptr<InferenceEngine> engine,
                                               StageRunnerOptions options);

}  // namespace exo
