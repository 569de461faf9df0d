#include "orchestration/core.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "orchestration/membership.h"
#include "orchestration/placements_book.h"
#include "orchestration/placements_held.h"
#include "orchestration/placements_plan.h"
#include "orchestration/sessions.h"

namespace exo {
namespace {

constexpr int64_t kBusyTickUs = 50'000;
constexpr int64_t kIdleTickUs = 250'000;
constexpr int kMaxLoopback = 10'000;  // messages to oneself within one event: more is our own bug

class Core final : public NodeCore {
 public:
  Core(CoreOptions options, int64_t now_us)
      : context_{.options = std::move(options), .now_us = now_us},
        membership_(context_),
        held_(context_, membership_),
        book_(membership_),
        plans_(context_, membership_, held_, book_),
        sessions_(context_, membership_, book_, plans_),
        last_tick_us_(now_us - kIdleTickUs) {
    context_.random_state = context_.options.seed;
  }

  std::vector<CoreEffect> handle(CoreEvent event, int64_t now_us) override {
    context_.now_us = std::max(context_.now_us, now_us);
    context_.effects.clear();
    if (stopped_) return {};
    std::visit([&](auto& e) { on(std::move(e)); }, event);
    settle();
    return std::exchange(context_.effects, {});
  }

  int64_t next_deadline_us() const override {
    const bool busy = sessions_.busy() || plans_.busy() || held_.busy();
    return last_tick_us_ + (busy ? kBusyTickUs : kIdleTickUs);
  }

  CoreView view() const override {
    return {membership_.self(), membership_.peers(), book_.all(), sessions_.size()};
  }

 private:
  void on(LinkUp event) { membership_.link_up(event.peer); }
  void on(LinkDown event) { membership_.link_down(event.peer); }
  void on(MessageReceived event) {
    if (membership_.heard_from(event.from)) receive(event.from, event.message);
  }
  void on(DeviceChanged event) {
    held_.on_device(event.device);
    membership_.set_device(event.device, held_.free_bytes());
  }
  void on(HeldChanged event) { membership_.set_held(std::move(event.held)); }
  void on(ShardLoaded event) { held_.on_loaded(event.placement); }
  void on(ShardLoading event) { held_.on_loading(event.placement, std::move(event.progress)); }
  void on(ShardLoadFailed event) { held_.on_load_failed(event.placement, event.error); }
  void on(StageOutput event) { held_.on_output(std::move(event)); }
  void on(Tick) {
    last_tick_us_ = context_.now_us;
    membership_.tick(held_.progress());
    held_.tick();
    plans_.tick();
    sessions_.tick();
  }
  void on(StartSession event) { sessions_.start(std::move(event)); }
  void on(CancelSession event) { sessions_.cancel(event.request); }
  void on(LoadModel event) { sessions_.load(event); }
  void on(UnloadModel event) {
    plans_.cancel(event.model_id, event.model_id + " was unloaded");
    for (const PlacementInfo& info : book_.all())
      if (info.placement.card.id == event.model_id)
        context_.send(info.placement.head(),
                      PlacementDrop{info.placement.id, event.model_id + " was unloaded"});
  }
  void on(StopNode) {
    sessions_.fail_all(unavailable("this node is stopping"));
    membership_.say_goodbye();
    stopped_ = true;
  }

  // What one event leads to inside this node, until nothing is left to say to oneself.
  void settle() {
    for (int i = 0; i < kMaxLoopback && !stopped_; ++i) {
      for (const NodeId& peer : membership_.take_links_up()) held_.on_link_up(peer);
      for (const LostPeer& lost : membership_.take_lost()) {
        held_.on_lost(lost);
        plans_.on_lost(lost);
        sessions_.on_lost(lost);
      }
      if (context_.to_self.empty()) {
        publish();
        sessions_.advance();
        for (const PlanFailed& failed : plans_.take_failures()) sessions_.on_plan_failed(failed);
        if (context_.to_self.empty()) break;
      }
      Message message = std::move(context_.to_self.front());
      context_.to_self.pop_front();
      receive(context_.self(), message);
    }
    publish();
    membership_.flush();
  }

  // Own placements into own facts: only when they changed, and with every tick (idle times).
  void publish() {
    const bool changed = held_.take_changed();
    if (changed || last_tick_us_ == context_.now_us) membership_.set_placements(held_.infos());
    if (membership_.self().device.memory_free_bytes != held_.free_bytes())
      membership_.set_device(membership_.self().device, held_.free_bytes());
  }

  void receive(const NodeId& from, Message& message) {
    std::visit([&](auto& m) { on_message(from, m); }, message);
  }

  void on_message(const NodeId& from, Heartbeat& m) {
    membership_.on_heartbeat(from, m);
    held_.on_progress(from, m.progress);
  }
  void on_message(const NodeId& from, Gossip& m) { membership_.on_gossip(from, m); }
  void on_message(const NodeId& from, Leave&) { membership_.on_leave(from); }
  void on_message(const NodeId&, Revocations&) {}  // the driver's: they concern links, not plans
  void on_message(const NodeId&, FileRequest&) {}  // the driver's, as well
  void on_message(const NodeId&, FileReply&) {}
  void on_message(const NodeId&, FileProof&) {}
  void on_message(const NodeId&, PartRequest&) {}
  void on_message(const NodeId&, PartStatus&) {}
  void on_message(const NodeId& from, BandwidthProbe& m) { membership_.on_probe(from, m); }
  void on_message(const NodeId& from, BandwidthProbeAck& m) { membership_.on_probe_ack(from, m); }
  void on_message(const NodeId& from, PlacementPropose& m) { held_.on_propose(from, m); }
  void on_message(const NodeId& from, PlacementAnswer& m) { plans_.on_answer(from, m); }
  void on_message(const NodeId& from, PlacementCommit& m) { held_.on_commit(from, m); }
  void on_message(const NodeId& from, PlacementDrop& m) {
    held_.on_drop(from, m);
    sessions_.on_drop(from, m);
  }
  void on_message(const NodeId& from, PlacementGone& m) {
    held_.on_gone(from, m);
    sessions_.on_gone(from, m);
  }
  void on_message(const NodeId& from, SessionOpen& m) { held_.on_session_open(from, m); }
  void on_message(const NodeId&, SessionReady& m) { sessions_.on_ready(m); }
  void on_message(const NodeId&, SessionAccepted& m) { sessions_.on_accepted(m); }
  void on_message(const NodeId& from, SessionRefused& m) { sessions_.on_refused(from, m); }
  void on_message(const NodeId& from, SessionClose& m) { held_.on_session_close(from, m); }
  void on_message(const NodeId& from, SessionClosed& m) { sessions_.on_closed(from, m); }
  void on_message(const NodeId& from, SessionResume& m) { held_.on_session_resume(from, m); }
  void on_message(const NodeId& from, Forward& m) { held_.on_forward(from, std::move(m)); }
  void on_message(const NodeId& from, BatchResult& m) { held_.on_result(from, std::move(m)); }
  void on_message(const NodeId& from, Tokens& m) { sessions_.on_tokens(from, m); }
  void on_message(const NodeId& from, BatchGap& m) { held_.on_gap(from, m); }
  void on_message(const NodeId& from, StageError& m) { held_.on_stage_error(from, m); }

  CoreContext context_;
  Membership membership_;
  HeldPlacements held_;
  PlacementBook book_;
  PlacementPlans plans_;
  Sessions sessions_;
  int64_t last_tick_us_;
  bool stopped_ = false;
};

}  // namespace

std::unique_ptr<NodeCore> make_node_core(CoreOptions options, int64_t now_us) {
  return std::make_unique<Core>(std::move(options), now_us);
}

}  // namespace exo
