// HeldPlacements: the placements this node takes part in, as a member: accept or refuse a proposal,
// load, serve, drain, drop. A placement whose member died is dropped by every other member on its
// own. Part of the pure core: one thread. Bounded by kMaxHeld.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "orchestration/membership.h"
#include "orchestration/ring_run.h"
#include "orchestration/sessions_served.h"

namespace exo {

struct HeldStage {
  enum class State { loading, loaded, ready, draining };
  HeldStage(CoreContext& context, const Placement& p, size_t i, const NodeId& from)
      : placement(p),
        index(i),
        proposer(from),
        proposer_heard_us(context.now_us),
        run(context, placement, i),
        sessions(context, placement, i) {}
  HeldStage(const HeldStage&) = delete;
  HeldStage& operator=(const HeldStage&) = delete;

  const Placement placement;
  const size_t index;
  const NodeId proposer;
  int64_t proposer_heard_us;
  State state = State::loading;
  RingRun run;
  ServedSessions sessions;
  uint64_t bytes = 0;
  int64_t idle_since_us = 0;      // head: without sessions
  int64_t unlisted_since_us = 0;  // a member's facts do not name it
  std::string drain_reason;
  std::string progress;  // while it loads, for people

  bool head() const { return index == 0; }
  bool tail() const { return index + 1 == placement.stages.size(); }
  bool committed() const { return state == State::ready || state == State::draining; }
};

class HeldPlacements {
 public:
  HeldPlacements(CoreContext& context, Membership& membership);

  void on_propose(const NodeId& from, const PlacementPropose& propose);
  void on_commit(const NodeId& from, const PlacementCommit& commit);
  void on_drop(const NodeId& from, const PlacementDrop& drop);
  void on_gone(const NodeId& from, const PlacementGone& gone);
  void on_loaded(PlacementId id);
  void on_loading(PlacementId id, std::string progress);
  void on_load_failed(PlacementId id, const Error& error);
  void on_output(StageOutput output);

  void on_session_open(const NodeId& from, const SessionOpen& open);
  void on_session_close(const NodeId& from, const SessionClose& close);
  void on_session_resume(const NodeId& from, const SessionResume& resume);
  void on_forward(const NodeId& from, Forward forward);
  void on_result(const NodeId& from, BatchResult result);
  void on_gap(const NodeId& from, const BatchGap& gap);
  void on_stage_error(const NodeId& from, const StageError& error);
  void on_progress(const NodeId& from, const std::vector<StageProgress>& progress);

  void on_lost(const LostPeer& lost);
  void on_link_up(const NodeId& peer);
  void on_device(const DeviceCapabilities& device);
  void tick();

  void drain(PlacementId id, const std::string& reason);   // head: no new sessions, then drop
  void retire(PlacementId id, const std::string& reason);  // head: drop it everywhere now

  const std::map<PlacementId, HeldStage>& held() const { return held_; }
  bool dropped(PlacementId id) const { return dropped_.contains(id); }
  uint64_t free_bytes() const;  // for a shard, after what was promised since the last measurement
  std::vector<PlacementInfo> infos() const;
  bool take_changed();  // whether infos() differs in more than idle times since the last call
  std::vector<StageProgress> progress() const;
  bool busy() const;

 private:
  HeldStage* find(PlacementId id);
  uint64_t usable_bytes() const;
  HeldStage* find_serving(PlacementId id, const NodeId& from);
  std::optional<Error> check(const Placement& placement, size_t* index) const;
  std::optional<Error> settle_conflicts(const NodeId& from, const Placement& placement,
                                        uint64_t need_bytes);
  bool may_replace(const NodeId& from, const HeldStage& old) const;
  void answer(const HeldStage& stage);
  void refuse(const NodeId& to, PlacementId id, Error error, uint64_t missing_bytes = 0);
  void drop(PlacementId id, const std::string& reason, bool broken);
  void give_up_unfinished(const HeldStage& stage, std::vector<PlacementId>& doomed) const;
  bool listed_by(const NodeId& node, PlacementId id, PlacementState* state = nullptr) const;
  bool listed_everywhere(const HeldStage& stage) const;
  void forward_tokens(HeldStage& stage, const BatchResult& result);

  CoreContext& context_;
  Membership& membership_;
  std::map<PlacementId, HeldStage> held_;
  std::set<PlacementId> dropped_;
  std::deque<PlacementId> dropped_order_;
  struct Published {
    PlacementId id;
    HeldStage::State state;
    std::string progress;
    bool operator==(const Published&) const = default;
  };
  std::vector<Published> published_;
  uint64_t measured_free_bytes_ = 0;
  int64_t promised_bytes_ = 0;  // since the last measurement; may be negative after a drop
};

}  // namespace exo
