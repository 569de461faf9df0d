#include "orchestration/ring_run.h"

#include <algorithm>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMaxEarly = 64;
constexpr int64_t kGapUs = 250'000;
constexpr int64_t kMinPatienceUs = 1'000'000;
constexpr int64_t kMaxPatienceUs = 60'000'000;
constexpr int64_t kNewRunGapUs = 200'000;  // new runs never follow each other faster
constexpr int kMaxBackoff = 6;

}  // namespace

RingRun::RingRun(CoreContext& context, const Placement& placement, size_t index)
    : context_(context), placement_(placement), index_(index) {}

void RingRun::enter_run(uint64_t run) {
  run_ = run;
  run_known_ = true;
  next_number_ = 0;
  gap_since_us_ = 0;
  outstanding_ = 0;
  error_.reset();
  early_.clear();
  early_results_.clear();
  in_flight_.clear();
}

void RingRun::on_forward(Forward forward) {
  const Batch& batch = forward.batch;
  if (head() || batch.epoch != placement_.epoch) return;
  if (run_known_ && (batch.run < run_ || (batch.run == run_ && error_))) return;
  if (!run_known_ || batch.run > run_) enter_run(batch.run);
  if (batch.number < next_number_) return;
  if (batch.number > next_number_) {
    if (early_.size() >= kMaxEarly) return;
    if (gap_since_us_ == 0) gap_since_us_ = context_.now_us;
    early_.emplace(batch.number, std::move(forward));
    return;
  }
  apply(std::move(forward));
  while (!early_.empty() && early_.begin()->first == next_number_) {
    Forward next = std::move(early_.begin()->second);
    early_.erase(early_.begin());
    apply(std::move(next));
  }
  gap_since_us_ = early_.empty() ? 0 : context_.now_us;
}

void RingRun::apply(Forward forward) {
  ++next_number_;
  ++outstanding_;
  context_.effects.push_back(SubmitToStage{placement_.id, std::move(forward)});
}

void RingRun::on_forward_made(Forward forward) {
  const uint64_t run = forward.batch.run;
  if (head()) {
    if (run < min_run_) return;
    if (!run_known_ || run > run_) enter_run(run);
    min_run_ = run;
    in_flight_[forward.batch.number] = context_.now_us;
    last_activity_us_ = context_.now_us;
  } else {
    if (!run_known_ || run != run_) return;
    if (outstanding_ > 0) --outstanding_;
  }
  if (!tail()) context_.send(placement_.stages[index_ + 1].node, std::move(forward));
}

bool RingRun::on_result_made(const BatchResult& result) {
  if (head()) {
    if (result.run < min_run_) return false;
    run_ = min_run_ = result.run;
    run_known_ = true;
    fruitless_runs_ = 0;
    return true;
  }
  if (!run_known_ || result.run != run_) return false;
  if (outstanding_ > 0) --outstanding_;
  context_.send(placement_.head(), result);
  return true;
}

void RingRun::on_error_made(const StageError& error) {
  if (head() ? error.run < min_run_ : !run_known_ || error.run != run_) return;
  outstanding_ = 0;  // the runner ignores the rest of this run
  error_ = error;
  error_sent_us_ = context_.now_us;
  context_.send(placement_.head(), error);
}

std::vector<BatchResult> RingRun::on_result(BatchResult result) {
  std::vector<BatchResult> ready;
  if (!head() || !run_known_ || result.run != run_ || result.run < min_run_) return ready;
  if (result.number < next_number_ || !in_flight_.contains(result.number)) return ready;
  early_results_.emplace(result.number, std::move(result));
  while (!early_results_.empty() && early_results_.begin()->first == next_number_) {
    const auto sent = in_flight_.find(next_number_);
    if (sent != in_flight_.end()) {
      slowest_us_ = std::max(slowest_us_, context_.now_us - sent->second);
      in_flight_.erase(sent);
    }
    ready.push_back(std::move(early_results_.begin()->second));
    early_results_.erase(early_results_.begin());
    ++next_number_;
  }
  gap_since_us_ = early_results_.empty() ? 0 : context_.now_us;
  if (!ready.empty()) {
    last_activity_us_ = context_.now_us;
    backoff_ = 0;
    fruitless_runs_ = 0;
  }
  return ready;
}

void RingRun::on_gap(const BatchGap& gap) {
  if (head() && run_known_ && gap.run == run_ && gap.run >= min_run_ && !in_flight_.empty())
    new_run_wanted_ = true;
}

void RingRun::on_stage_error(const StageError& error) {
  if (head() && error.run >= min_run_) new_run_wanted_ = true;
}

void RingRun::on_progress(const NodeId& from, const StageProgress& progress) {
  if (!head()) return;
  const bool member = std::any_of(placement_.stages.begin(), placement_.stages.end(),
                                  [&](const Stage& stage) { return stage.node == from; });
  if (member) heard_[from] = {context_.now_us, progress.computing};
}

// Whoever receives in a direction that was interrupted says so.
void RingRun::on_link_up(const NodeId& peer) {
  if (head()) {
    if (peer == placement_.tail() && !in_flight_.empty()) new_run_wanted_ = true;
  } else if (peer == placement_.stages[index_ - 1].node && run_known_) {
    context_.send(placement_.head(), BatchGap{placement_.id, run_, next_number_});
  }
}

void RingRun::start_new_run() {
  new_run_wanted_ = false;
  min_run_ = std::max(min_run_, run_known_ ? run_ : 0) + 1;
  in_flight_.clear();
  early_results_.clear();
  gap_since_us_ = 0;
  last_activity_us_ = context_.now_us;
  not_before_us_ = context_.now_us + kNewRunGapUs;
  backoff_ = std::min(backoff_ + 1, kMaxBackoff);
  ++fruitless_runs_;
  context_.effects.push_back(SubmitToStage{placement_.id, StartNewRun{}});
}

int64_t RingRun::patience_us() const {
  const int64_t base = std::max(kMinPatienceUs, 4 * slowest_us_);
  return std::min(kMaxPatienceUs, base << std::min(backoff_, kMaxBackoff));
}

// Every other stage has said, in a heartbeat since the last sign of life, that it computes nothing.
bool RingRun::ring_is_idle() const {
  for (size_t i = 1; i < placement_.stages.size(); ++i) {
    const auto heard = heard_.find(placement_.stages[i].node);
    if (heard == heard_.end()) return false;
    if (heard->second.computing || heard->second.at_us <= last_activity_us_) return false;
  }
  return true;
}

void RingRun::report_gap() {
  gap_since_us_ = context_.now_us;
  context_.send(placement_.head(), BatchGap{placement_.id, run_, next_number_});
}

void RingRun::tick() {
  const bool gap = gap_since_us_ != 0 && context_.now_us - gap_since_us_ >= kGapUs;
  if (!head()) {
    if (gap) report_gap();
    if (error_ && context_.now_us - error_sent_us_ >= 4 * kGapUs) {
      error_sent_us_ = context_.now_us;
      context_.send(placement_.head(), *error_);
    }
    return;
  }
  if (gap) new_run_wanted_ = true;  // a result is missing, later ones are here
  const bool overdue =
      !in_flight_.empty() && context_.now_us - last_activity_us_ >= patience_us() && ring_is_idle();
  if ((new_run_wanted_ || overdue) && context_.now_us >= not_before_us_) start_new_run();
}

StageProgress RingRun::progress() const {
  return {placement_.id, run_, next_number_, outstanding_ > 0};
}

}  // namespace exo
