#include "orchestration/core_driver.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <type_traits>

#include "base/log.h"
#include "base/thread_name.h"

namespace exo {
namespace {

constexpr int64_t kLongestSleepUs = 1'000'000;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

template <class T, class... Kinds>
constexpr bool kIsOneOf = (std::is_same_v<T, Kinds> || ...);

// What the token's way and the timer do every moment changes nothing that people look at.
bool worth_showing(const CoreEvent& event) {
  if (const auto* received = std::get_if<MessageReceived>(&event))
    return std::visit(
        [](const auto& message) {
          using T = std::decay_t<decltype(message)>;
          return !kIsOneOf<T, Heartbeat, BandwidthProbe, Forward, BatchResult, Tokens>;
        },
        received->message);
  if (const auto* output = std::get_if<StageOutput>(&event))
    return !std::holds_alternative<Forward>(output->event) &&
           !std::holds_alternative<BatchResult>(output->event);
  return true;
}

}  // namespace

// The consumer's end. Dropping it before the last item cancels.
class LocalTokenStream final : public TokenStream {
 public:
  LocalTokenStream(std::shared_ptr<TokenQueue> queue, std::weak_ptr<CoreDriver> driver,
                   uint64_t request)
      : queue_(std::move(queue)), driver_(std::move(driver)), request_(request) {}
  ~LocalTokenStream() override {
    if (queue_->ended()) return;
    if (const auto driver = driver_.lock()) driver->cancel(request_);
  }
  std::optional<Item> try_next() override { return queue_->try_pop(); }
  std::optional<Item> next(int timeout_ms) override { return queue_->pop(timeout_ms); }
  void set_waker(std::function<void()> waker) override { queue_->set_waker(std::move(waker)); }

 private:
  std::shared_ptr<TokenQueue> queue_;
  std::weak_ptr<CoreDriver> driver_;
  uint64_t request_;
};

CoreDriver::CoreDriver(Options options) : options_(std::move(options)) {}

CoreDriver::~CoreDriver() { stop(); }

void CoreDriver::start(CoreOptions core) {
  std::unique_lock lock(mutex_);
  self_ = core.self.id;
  core_ = make_node_core(std::move(core), options_.world->now_us());
  timer_ = std::thread([this] { run_timer(); });
  process(lock);
}

void CoreDriver::handle(CoreEvent event) {
  std::unique_lock lock(mutex_);
  if (stopping_) return;
  pending_.push_back(std::move(event));
  process(lock);
}

// Effects may bring further events (a message to oneself); they queue up behind.
void CoreDriver::process(std::unique_lock<std::mutex>& lock) {
  if (!core_) return lock.unlock();
  Wakes wakes;
  bool shown = false;
  while (!pending_.empty()) {
    CoreEvent event = std::move(pending_.front());
    pending_.pop_front();
    const bool tick = std::holds_alternative<Tick>(event);
    shown = shown || (!tick && worth_showing(event));
    std::vector<CoreEffect> effects = core_->handle(std::move(event), options_.world->now_us());
    for (CoreEffect& effect : effects) execute(effect, wakes);
    shown = shown || (tick && !effects.empty());
  }
  if (core_->next_deadline_us() < armed_us_) timer_wake_.notify_one();
  if (shown) {
    ++version_;
    changed_.notify_all();
  }
  lock.unlock();
  for (const auto& queue : wakes) queue->wake();
}

void CoreDriver::execute(CoreEffect& effect, Wakes& wakes) {
  std::visit(
      [&](auto& what) {
        using T = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<T, ConnectPeer>) {
          options_.transport->connect(what.peer, what.address);
        } else if constexpr (std::is_same_v<T, DisconnectPeer>) {
          options_.transport->disconnect(what.peer);
        } else if constexpr (std::is_same_v<T, UnloadShard>) {
          unload(what.placement);
        } else if constexpr (std::is_same_v<T, EmitTokens>) {
          counters_.tokens += what.event.ids.size();
          deliver(
              what.request,
              {TokenStream::Item::Kind::tokens, "", std::move(what.event), {}, what.cached_tokens},
              wakes);
        } else if constexpr (std::is_same_v<T, SessionFailed>) {
          ++counters_.requests_failed;
          deliver(what.request, {TokenStream::Item::Kind::failed, "", {}, std::move(what.error)},
                  wakes);
        } else if constexpr (std::is_same_v<T, SessionNotice>) {
          deliver(what.request, {TokenStream::Item::Kind::notice, std::move(what.text), {}, {}},
                  wakes);
        } else if constexpr (std::is_same_v<T, ModelReady>) {
          TokenEvent ready;
          ready.finish = FinishReason::stop;
          deliver(what.request, {TokenStream::Item::Kind::tokens, "", std::move(ready), {}}, wakes);
        } else {
          perform(what);
        }
      },
      effect);
}

void CoreDriver::perform(SendMessage& effect) {
  if (effect.to == self_) {
    pending_.push_back(MessageReceived{self_, std::move(effect.message)});
    return;
  }
  // No link, or one that cannot keep up: it goes down, and the core hears of that.
  (void)options_.transport->send(effect.to, std::move(effect.message));
}

void CoreDriver::perform(LoadShard& effect) {
  unload(effect.placement.id);
  StageThread::Options options;
  options.make_engine = options_.make_engine;
  options.runner = options_.runner;
  options.post = [this](CoreEvent event) { handle(std::move(event)); };
  const PlacementId id = effect.placement.id;
  stages_[id] = std::make_unique<StageThread>(std::move(effect), std::move(options));
}

void CoreDriver::perform(SubmitToStage& effect) {
  const auto stage = stages_.find(effect.placement);
  if (stage == stages_.end()) return;
  if (stage->second->submit(std::move(effect.command))) return;
  log::error("the engine of {} does not keep up; giving its shard up",
             stage->second->placement().card.id);
  unload(effect.placement);
  pending_.push_back(ShardLoadFailed{effect.placement, internal_error("the engine hangs")});
}

void CoreDriver::unload(PlacementId placement) {
  const auto stage = stages_.find(placement);
  if (stage == stages_.end()) return;
  stage->second->stop();
  retired_.push_back(std::move(stage->second));
  stages_.erase(stage);
  timer_wake_.notify_one();
}

void CoreDriver::deliver(uint64_t request, TokenStream::Item item, Wakes& wakes) {
  const auto stream = streams_.find(request);
  if (stream == streams_.end()) return;
  stream->second->push(std::move(item));
  wakes.push_back(stream->second);
  if (stream->second->ended()) streams_.erase(stream);
}

std::unique_ptr<TokenStream> CoreDriver::begin(
    std::shared_ptr<TokenQueue> queue, const std::function<CoreEvent(uint64_t request)>& event) {
  std::unique_lock lock(mutex_);
  const uint64_t request = next_request_++;
  auto stream = std::make_unique<LocalTokenStream>(queue, weak_from_this(), request);
  if (stopping_ || !core_) {
    queue->push({TokenStream::Item::Kind::failed, "", {}, unavailable("this node is stopping")});
    return stream;
  }
  streams_.emplace(request, std::move(queue));
  pending_.push_back(event(request));
  process(lock);
  return stream;
}

std::unique_ptr<TokenStream> CoreDriver::open(ModelCard card, std::vector<TokenId> prompt_ids,
                                              SamplingParams sampling,
                                              std::vector<PlacedImage> images) {
  return begin(std::make_shared<TokenQueue>(sampling.max_tokens), [&](uint64_t request) {
    ++counters_.requests_started;
    counters_.prompt_tokens += prompt_ids.size();
    return StartSession{request, std::move(card), std::move(prompt_ids), std::move(sampling),
                        std::move(images)};
  });
}

std::unique_ptr<TokenStream> CoreDriver::load(ModelCard card) {
  return begin(std::make_shared<TokenQueue>(0), [&](uint64_t request) {
    return LoadModel{request, std::move(card)};
  });
}

void CoreDriver::cancel(uint64_t request) {
  std::unique_lock lock(mutex_);
  if (streams_.erase(request) == 0 || stopping_) return;
  pending_.push_back(CancelSession{request});
  process(lock);
}

CoreView CoreDriver::view() const {
  const std::lock_guard lock(mutex_);
  return core_ ? core_->view() : CoreView{};
}

CoreDriver::Counters CoreDriver::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

StageStats CoreDriver::stage_stats() const {
  const std::lock_guard lock(mutex_);
  StageStats sum;
  for (const auto& [id, stage] : stages_) {
    const StageStats stats = stage->stats();
    sum.running += stats.running;
    sum.waiting += stats.waiting;
    sum.cached_sequences += stats.cached_sequences;
    sum.batches_in_flight += stats.batches_in_flight;
    sum.kv_blocks += stats.kv_blocks;
    sum.kv_blocks_free += stats.kv_blocks_free;
    sum.tail_sessions += stats.tail_sessions;
    sum.prompt_tokens += stats.prompt_tokens;
    sum.cached_tokens += stats.cached_tokens;
    sum.output_tokens += stats.output_tokens;
  }
  return sum;
}

bool CoreDriver::wait_until(const std::function<bool(const CoreView&)>& enough, int timeout_ms) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
    return core_ && (stopping_ || enough(core_->view()));
  }) && !stopping_;
}

void CoreDriver::on_link_down(const NodeId& peer, const Error& why) {
  log::debug("link to {} is down: {}", peer.value, why.message);
  if (options_.files) options_.files->on_link_down(peer);
  handle(LinkDown{peer});
}

void CoreDriver::on_link_up(const NodeId& peer) {
  handle(LinkUp{peer});
  if (options_.revocations && options_.revocations->current().version > 0)
    options_.transport->send(peer, options_.revocations->current());
}

void CoreDriver::tell_revocations() {
  const Revocations list = options_.revocations->current();
  for (const PeerView& peer : view().peers)
    if (peer.linked) options_.transport->send(peer.info.id, list);
}

void CoreDriver::on_message(const NodeId& from, Message message) {
  if (const auto* theirs = std::get_if<Revocations>(&message)) {
    if (options_.revocations && options_.revocations->learn(*theirs)) tell_revocations();
    return;
  }
  if (take_for_files(from, message)) return;
  handle(MessageReceived{from, std::move(message)});
}

bool CoreDriver::take_for_files(const NodeId& from, Message& message) {
  FileExchange* const files = options_.files.get();
  PartDownloads* const parts = options_.parts.get();
  if (auto* request = std::get_if<FileRequest>(&message)) {
    if (files) files->on_request(from, std::move(*request));
  } else if (auto* reply = std::get_if<FileReply>(&message)) {
    if (files) files->on_reply(from, std::move(*reply));
  } else if (auto* proof = std::get_if<FileProof>(&message)) {
    if (files) files->on_proof(std::move(*proof));
  } else if (const auto* wanted = std::get_if<PartRequest>(&message)) {
    if (parts) parts->on_request(from, *wanted);
  } else if (const auto* status = std::get_if<PartStatus>(&message)) {
    if (parts) parts->on_status(from, *status);
  } else {
    return false;
  }
  return true;
}

void CoreDriver::on_refused(const PeerAddress& address, const Error& why) {
  log::warn("{}:{} refused this node: {}", address.host, address.port, why.message);
}

void CoreDriver::run_timer() {
  set_thread_name("exo-timer");
  int64_t measure_us = options_.world->now_us() + int64_t{options_.measure_every_ms} * 1000;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    bury_finished(lock);
    if (stopping_) break;
    const int64_t now_us = options_.world->now_us();
    if (options_.measure_device && now_us >= measure_us) {
      lock.unlock();
      handle(DeviceChanged{options_.measure_device()});
      measure_us = options_.world->now_us() + int64_t{options_.measure_every_ms} * 1000;
      lock.lock();
      continue;
    }
    const int64_t deadline_us = core_->next_deadline_us();
    if (now_us >= deadline_us) {
      pending_.push_back(Tick{});
      process(lock);
      lock.lock();
      continue;
    }
    armed_us_ = std::min(deadline_us, options_.measure_device ? measure_us : kNever);
    const int64_t sleep_us = std::min(armed_us_ - now_us, kLongestSleepUs);
    timer_wake_.wait_for(lock, std::chrono::microseconds(sleep_us));
    armed_us_ = 0;
  }
}

// Joining waits for the last step, which may want the lock.
void CoreDriver::bury_finished(std::unique_lock<std::mutex>& lock) {
  std::vector<std::unique_ptr<StageThread>> finished;
  std::swap(finished, retired_);
  if (finished.empty()) return;
  lock.unlock();
  finished.clear();
  lock.lock();
}

void CoreDriver::say_goodbye() { handle(StopNode{}); }

void CoreDriver::stop() {
  std::unordered_map<uint64_t, std::shared_ptr<TokenQueue>> streams;
  std::map<PlacementId, std::unique_ptr<StageThread>> stages;
  std::vector<std::unique_ptr<StageThread>> retired;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    std::swap(streams, streams_);
    std::swap(stages, stages_);
    std::swap(retired, retired_);
    timer_wake_.notify_all();
    changed_.notify_all();
  }
  for (const auto& [request, queue] : streams) {
    queue->push({TokenStream::Item::Kind::failed, "", {}, unavailable("this node is stopping")});
    queue->wake();
  }
  for (const auto& [id, stage] : stages) stage->stop();
  stages.clear();
  retired.clear();
  if (timer_.joinable()) timer_.join();
}

}  // namespace exo
