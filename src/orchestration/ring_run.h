// RingRun: the numbered stream of batches as one stage sees it. Gives the runner each batch once
// and in order; on the head it knows what is in flight, hands results back in order, and starts a
// new run when one is lost. A slow stage is never taken for a lost batch: the head only gives up on
// a batch when no stage is computing, and waits longer each time it was wrong. Part of the pure
// core: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "orchestration/core_context.h"

namespace exo {

class RingRun {
 public:
  RingRun(CoreContext& context, const Placement& placement, size_t index);

  // From the network.
  void on_forward(Forward forward);
  std::vector<BatchResult> on_result(BatchResult result);  // head: what is next in order now
  void on_gap(const BatchGap& gap);
  void on_stage_error(const StageError& error);
  void on_progress(const NodeId& from, const StageProgress& progress);
  void on_link_up(const NodeId& peer);

  // From the own runner.
  void on_forward_made(Forward forward);
  bool on_result_made(const BatchResult& result);  // false: of an abandoned run, drop it
  void on_error_made(const StageError& error);

  void tick();
  StageProgress progress() const;
  bool busy() const { return outstanding_ > 0 || !in_flight_.empty() || !early_.empty(); }
  int fruitless_runs() const { return fruitless_runs_; }  // new runs since the last result

 private:
  bool head() const { return index_ == 0; }
  bool tail() const { return index_ + 1 == placement_.stages.size(); }
  void apply(Forward forward);
  void report_gap();
  void start_new_run();
  bool ring_is_idle() const;
  int64_t patience_us() const;
  void enter_run(uint64_t run);

  CoreContext& context_;
  const Placement& placement_;
  const size_t index_;

  uint64_t run_ = 0;
  bool run_known_ = false;
  uint64_t next_number_ = 0;           // batch (head: result) that comes next
  std::map<uint64_t, Forward> early_;  // arrived before their turn
  int64_t gap_since_us_ = 0;           // 0: none
  std::optional<StageError> error_;     // ended this run here; said again until a new one comes
  int64_t error_sent_us_ = 0;
  int outstanding_ = 0;                // given to the runner, not answered

  uint64_t min_run_ = 0;                   // head: outputs of earlier runs are abandoned
  std::map<uint64_t, int64_t> in_flight_;  // head: number -> when sent
  std::map<uint64_t, BatchResult> early_results_;
  int64_t last_activity_us_ = 0;
  int64_t slowest_us_ = 0;  // from sending a batch to its result, the longest seen
  int backoff_ = 0;
  int fruitless_runs_ = 0;
  int64_t not_before_us_ = 0;  // when the next new run may start
  bool new_run_wanted_ = false;
  struct Heard {
    int64_t at_us = 0;
    bool computing = false;
  };
  std::map<NodeId, Heard> heard_;  // head: the other stages' progress
};

}  // namespace exo
