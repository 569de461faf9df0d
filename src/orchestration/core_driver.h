// CoreDriver: NodeCore among threads. Whoever has an event (a link's reader, an engine thread, the
// timer, an API thread) takes the one lock, lets the core decide, and carries out the effects in
// order; none of them blocks, so a token waits for no other thread. Wakers run after the lock is
// released. It owns the engine threads (one per loaded Shard) and the timer thread.
//
// start() first, stop() last; everything else is thread-safe in between. The transport must not
// hold a lock of its own while it calls in.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/world.h"
#include "networking/transport.h"
#include "orchestration/core.h"
#include "orchestration/file_exchange.h"
#include "orchestration/part_downloads.h"
#include "orchestration/revocation_keeper.h"
#include "orchestration/stage_thread.h"
#include "orchestration/token_queue.h"

namespace exo {

class CoreDriver final : public TransportHandler, public std::enable_shared_from_this<CoreDriver> {
 public:
  struct Options {
    World* world = nullptr;          // borrowed
    Transport* transport = nullptr;  // borrowed, outlives this
    EngineFactory make_engine;
    StageRunnerOptions runner;
    std::function<DeviceCapabilities()> measure_device;  // quick; on the timer thread; may be empty
    int measure_every_ms = 5000;
    std::shared_ptr<RevocationKeeper> revocations;  // may be empty
    std::shared_ptr<FileExchange> files;            // may be empty
    std::shared_ptr<PartDownloads> parts;           // may be empty
  };
  struct Counters {
    uint64_t tokens = 0, prompt_tokens = 0, requests_started = 0, requests_failed = 0;
  };

  explicit CoreDriver(Options options);
  ~CoreDriver() override;

  // Events that come before start() wait for it.
  void start(CoreOptions core);
  void say_goodbye();
  void stop();  // ends streams and threads; the second call does nothing

  void handle(CoreEvent event);
  std::unique_ptr<TokenStream> open(ModelCard card, std::vector<TokenId> prompt_ids,
                                    SamplingParams sampling, std::vector<PlacedImage> images = {});
  // Places and loads without a session. The stream ends with a finish and no ids, or failed.
  std::unique_ptr<TokenStream> load(ModelCard card);
  void tell_revocations();  // the list, to every linked peer

  CoreView view() const;
  Counters counters() const;
  StageStats stage_stats() const;  // summed over the stages here
  uint64_t version() const { return version_; }
  // Waits until `enough` holds of the view; false when it does not within timeout_ms.
  bool wait_until(const std::function<bool(const CoreView&)>& enough, int timeout_ms);

  void on_link_up(const NodeId& peer) override;
  void on_link_down(const NodeId& peer, const Error& why) override;
  void on_message(const NodeId& from, Message message) override;
  void on_refused(const PeerAddress& address, const Error& why) override;

 private:
  friend class LocalTokenStream;
  using Wakes = std::vector<std::shared_ptr<TokenQueue>>;

  std::unique_ptr<TokenStream> begin(std::shared_ptr<TokenQueue> queue,
                                     const std::function<CoreEvent(uint64_t request)>& event);
  void cancel(uint64_t request);
  void process(std::unique_lock<std::mutex>& lock);  // unlocks
  void execute(CoreEffect& effect, Wakes& wakes);
  bool take_for_files(const NodeId& from, Message& message);  // false: it is the core's
  void perform(SendMessage& effect);
  void perform(LoadShard& effect);
  void perform(SubmitToStage& effect);
  void unload(PlacementId placement);
  void deliver(uint64_t request, TokenStream::Item item, Wakes& wakes);
  void run_timer();
  void bury_finished(std::unique_lock<std::mutex>& lock);

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable timer_wake_, changed_;
  std::unique_ptr<NodeCore> core_;
  NodeId self_;
  std::deque<CoreEvent> pending_;
  bool stopping_ = false;
  int64_t armed_us_ = 0;  // what the timer sleeps until
  uint64_t next_request_ = 1;
  std::unordered_map<uint64_t, std::shared_ptr<TokenQueue>> streams_;
  std::map<PlacementId, std::unique_ptr<StageThread>> stages_;
  std::vector<std::unique_ptr<StageThread>> retired_;  // stopped; the timer joins them
  Counters counters_;
  std::atomic<uint64_t> version_ = 1;
  std::thread timer_;
};

}  // namespace exo
