#include "inference/stage_runner.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "inference/scheduler.h"
#include "inference/tail_sessions.h"

namespace exo {
namespace {

class EngineStageRunner final : public StageRunner {
 public:
  EngineStageRunner(const Placement& placement, size_t stage_index,
                    std::unique_ptr<InferenceEngine> engine, const StageRunnerOptions& options)
      : placement_(placement.id), epoch_(placement.epoch), engine_(std::move(engine)) {
    const int64_t room = static_cast<int64_t>(engine_->kv_block_count()) * engine_->block_size();
    const int context = static_cast<int>(std::min<int64_t>(placement.context_length, room));
    if (stage_index == 0) {
      SchedulerOptions scheduler;
      scheduler.placement = placement.id;
      scheduler.epoch = placement.epoch;
      scheduler.stages = static_cast<int>(placement.stages.size());
      scheduler.block_size = engine_->block_size();
      scheduler.block_count = engine_->kv_block_count();
      scheduler.context_length = context;
      scheduler.vocab_size = placement.card.vocab_size;
      scheduler.images = image_rules(placement.card);
      scheduler.max_batch_rows = options.max_batch_rows;
      scheduler.max_sequences = options.max_sequences;
      scheduler.max_queue = options.max_queue;
      head_.emplace(scheduler);
    }
    // Sessions open at the tail first: those running, those in the queue, and some on their way.
    const size_t sessions = 2 * static_cast<size_t>(options.max_sequences + options.max_queue);
    if (stage_index + 1 == placement.stages.size()) tail_.emplace(context, sessions);
  }

  void submit(StageCommand command) override {
    if (const auto* forward = std::get_if<Forward>(&command)) {
      // A newer run abandons what is left of the older one.
      std::erase_if(commands_, [&](const StageCommand& queued) {
        const auto* older = std::get_if<Forward>(&queued);
        return older != nullptr && older->batch.run < forward->batch.run;
      });
    }
    commands_.push_back(std::move(command));
  }

  bool has_work() const override {
    return !commands_.empty() || (head_ && !failed_ && head_->ready());
  }

  std::vector<StageEvent> step() override {
    bool computed = false;
    while (!commands_.empty() && !computed) {
      StageCommand command = std::move(commands_.front());
      commands_.pop_front();
      computed = std::holds_alternative<Forward>(command);
      std::visit([this](auto& what) { handle(what); }, command);
    }
    if (head_ && !computed && !failed_) schedule();
    if (head_) {
      for (StageEvent& answer : head_->take_answers()) emit(std::move(answer));
    }
    return std::exchange(events_, {});
  }

  StageStats stats() const override {
    StageStats stats;
    if (tail_) stats.tail_sessions = static_cast<int>(tail_->size());
    if (!head_) return stats;
    const SchedulerStats head = head_->stats();
    stats.running = head.running;
    stats.waiting = head.waiting;
    stats.cached_sequences = head.cached;
    stats.batches_in_flight = head.in_flight;
    stats.kv_blocks = head.block_count;
    stats.kv_blocks_free = head.free_blocks;
    stats.prompt_tokens = head.prompt_tokens;
    stats.cached_tokens = head.cached_tokens;
    stats.output_tokens = head.output_tokens;
    return stats;
  }

 private:
  void emit(StageEvent event) { events_.push_back(std::move(event)); }

  void handle(SessionOpen& open) {
    if (open.for_tail && tail_) {
      const auto opened = tail_->open(open);
      if (opened.ok()) return emit(SessionReady{placement_, open.session});
      return emit(SessionRefused{placement_, open.session, opened.error()});
    }
    if (!open.for_tail && head_) {
      if (tail_) (void)tail_->open(open).ok();  // one node is both: one of the two messages will do
      return head_->open(open);
    }
    emit(SessionRefused{placement_, open.session,
                        invalid_argument(open.for_tail ? "this node is not the last stage"
                                                       : "this node is not the first stage")});
  }

  void handle(SessionClose& close) {
    if (head_) head_->close(close.session);
    if (tail_) tail_->close(close.session);
    emit(SessionClosed{placement_, close.session});
  }

  void handle(BatchResult& result) {
    if (head_) head_->commit(result);
  }

  void handle(StartNewRun&) {
    if (head_) head_->start_new_run();
    failed_ = false;
  }

  void handle(Forward& forward) {
    const Batch& batch = forward.batch;
    if (head_ || batch.placement != placement_ || batch.epoch != epoch_) return;
    if (batch.run < run_ || (batch.run == run_ && failed_)) return;
    if (batch.run > run_) {
      run_ = batch.run;
      next_number_ = 0;
      failed_ = false;
    }
    if (batch.number != next_number_)
      return fail(batch, corrupt(fmt::format("batch {} came where {} was due", batch.number,
                                             next_number_)));
    ++next_number_;
    if (auto sound = check(batch); !sound.ok()) return fail(batch, sound.error());
    compute(batch, &forward.hidden);
  }

  // Batches of other machines: counts that later code trusts.
  static Result<void> check(const Batch& batch) {
    for (const BatchEntry& entry : batch.entries)
      if (entry.count <= 0 || entry.first_position < 0 || entry.logit_rows < 0 ||
          entry.logit_rows > entry.count)
        return corrupt(fmt::format("a batch entry of {} rows at {} that wants {} rows of logits",
                                   entry.count, entry.first_position, entry.logit_rows));
    return {};
  }

  void schedule() {
    if (auto batch = head_->next()) compute(*batch, nullptr);
  }

  void compute(const Batch& batch, const HiddenStates* hidden) {
    auto output = engine_->step(batch, hidden);
    if (!output.ok()) return fail(batch, output.error());
    if (tail_) {
      BatchResult result{batch.placement, batch.epoch, batch.run, batch.number, {}};
      result.tokens = tail_->sample(batch, output->logits, output->vocab_size);
      if (head_) head_->commit(result);
      return emit(std::move(result));
    }
    Forward forward{batch, std::move(output->hidden)};
    for (BatchEntry& entry : forward.batch.entries) {
      entry.ids.clear();
      entry.images.clear();
    }
    emit(std::move(forward));
  }

  // The rest of this run builds on what failed; the head starts a new one.
  void fail(const Batch& batch, const Error& error) {
    failed_ = true;
    emit(StageError{placement_, batch.run, batch.number, error});
  }

  const PlacementId placement_;
  const uint64_t epoch_;
  const std::unique_ptr<InferenceEngine> engine_;
  std::optional<Scheduler> head_;
  std::optional<TailSessions> tail_;
  std::deque<StageCommand> commands_;
  std::vector<StageEvent> events_;
  uint64_t run_ = 0;  // of the last Forward
  uint64_t next_number_ = 0;
  bool failed_ = false;
};

}  // namespace

std::unique_ptr<StageRunner> make_stage_runner(const Placement& placement, size_t stage_index,
                                               std::unique_ptr<InferenceEngine> engine,
                                               StageRunnerOptions options) {
  CHECK(stage_index < placement.stages.size(), "a runner belongs to one of the stages");
  return std::make_unique<EngineStageRunner>(placement, stage_index, std::move(engine), options);
}

}  // namespace exo
