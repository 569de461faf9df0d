#include "orchestration/stage_thread.h"

#include <fmt/core.h>

#include <exception>

#include "base/log.h"
#include "base/thread_name.h"

namespace exo {
namespace {

// The protocol keeps a few commands per session and batch under way; a queue this long means that
// the engine hangs.
constexpr size_t kMaxCommands = 16384;

}  // namespace

StageThread::StageThread(LoadShard load, Options options)
    : load_(std::move(load)),
      options_(std::move(options)),
      commands_(kMaxCommands),
      thread_([this] { run(); }) {}

StageThread::~StageThread() {
  stop();
  thread_.join();
}

bool StageThread::submit(StageCommand command) {
  return stopping_ || commands_.try_push(std::move(command));
}

void StageThread::stop() {
  stopping_ = true;
  commands_.close();
}

void StageThread::post(CoreEvent event) {
  if (!stopping_) options_.post(std::move(event));
}

StageStats StageThread::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

void StageThread::run() {
  const Shard& shard = load_.placement.stages[load_.stage_index].shard;
  set_thread_name(fmt::format("exo-stage-{}", load_.stage_index));
  const PlacementId id = load_.placement.id;
  try {
    const LoadWatch watch{[this] { return stopping_.load(); },
                          [this, id](std::string progress) {
                            post(ShardLoading{id, std::move(progress)});
                          }};
    auto engine = options_.make_engine(load_.placement, load_.stage_index, watch);
    if (!engine.ok()) {
      post(ShardLoadFailed{id, engine.error()});
    } else {
      auto runner = make_stage_runner(load_.placement, load_.stage_index, *std::move(engine),
                                      options_.runner);
      log::info("loaded layers {}-{} of {}", shard.layer_begin, shard.layer_end - 1,
                load_.placement.card.id);
      post(ShardLoaded{id});
      serve(*runner);
    }
  } catch (const std::bad_alloc&) {
    post(ShardLoadFailed{id, resource_exhausted("the system has no memory left for this shard")});
  } catch (const std::exception& thrown) {  // a library's; ours travel as Results
    post(ShardLoadFailed{id, internal_error(thrown.what())});
  }
  finished_ = true;
}

void StageThread::serve(StageRunner& runner) {
  while (!stopping_) {
    if (!runner.has_work()) {
      std::optional<StageCommand> command = commands_.pop();  // sleeps
      if (!command) return;
      runner.submit(std::move(*command));
    }
    while (std::optional<StageCommand> command = commands_.try_pop())
      runner.submit(std::move(*command));
    std::vector<StageEvent> events = runner.step();
    {
      const std::lock_guard lock(stats_mutex_);
      stats_ = runner.stats();
    }
    for (StageEvent& event : events) post(StageOutput{load_.placement.id, std::move(event)});
  }
}

}  // namespace exo
