// PlacementPlans: how a placement comes to be, as its maker sees it: partition, propose, collect
// answers, plan again without those who refuse, commit. Also the head's care for its placements:
// of two for one model the lower (epoch, id) stays, and an idle one that no longer fits the
// membership is planned anew. At most one plan per model at a time. Part of the pure core: one
// thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "orchestration/placements_book.h"
#include "orchestration/placements_held.h"
#include "topology/partitioning_strategy.h"

namespace exo {

struct PlanFailed {
  std::string fingerprint;
  Error error;
};

class PlacementPlans {
 public:
  PlacementPlans(CoreContext& context, Membership& membership, HeldPlacements& held,
                 const PlacementBook& book);

  // Starts a plan unless one runs, or a recent one of another node is worth waiting for.
  void ensure(const ModelCard& card);
  // The placement that a plan of this node has made or is making.
  PlacementLookup find(const std::string& fingerprint) const;
  std::vector<PlanFailed> take_failures();
  void cancel(const std::string& model_id, const std::string& reason);

  void on_answer(const NodeId& from, const PlacementAnswer& answer);
  void on_lost(const LostPeer& lost);
  void tick();
  bool busy() const { return !plans_.empty(); }

 private:
  struct Member {
    bool accepted = false;
    bool loaded = false;
    int64_t next_send_us = 0;
  };
  struct Plan {
    ModelCard card;
    Placement placement;
    std::map<NodeId, Member> members;
    std::map<NodeId, Error> refused;
    std::map<NodeId, uint64_t> usable;  // learnt from refusals
    bool committed = false;
    int attempts = 0;
    int64_t proposed_us = 0;
    int64_t committed_us = 0;
    uint64_t least_epoch = 1;
    int64_t room_until_us = 0;  // idle models were asked to leave; 0: nobody was
    std::set<PlacementId> leaving;
  };

  void start(const ModelCard& card, uint64_t least_epoch);
  bool propose(Plan& plan);  // false: nothing is left to try; the failure is noted
  Topology topology_for(const Plan& plan) const;
  Result<Partition> partition_for(const Plan& plan) const;
  bool make_room(Plan& plan);
  bool fits_beside_none(Plan& plan);
  Placement make_placement(const Plan& plan, const Partition& partition);
  void fail(const Plan& plan, const Error& error);
  void abandon(Plan& plan, const std::string& reason);
  void replan(const std::string& fingerprint);
  void refused(Plan& plan, const NodeId& from, const PlacementAnswer& answer);
  void send_proposals(Plan& plan);
  void commit(Plan& plan);
  bool settled(const Plan& plan) const;
  void tick_plan(const std::string& fingerprint, Plan& plan, std::vector<std::string>& done,
                 std::vector<std::string>& again);
  void tend_held();
  bool stale(const HeldStage& stage) const;
  void reconsider(const HeldStage& stage);
  void cool_down(const std::string& fingerprint);

  CoreContext& context_;
  Membership& membership_;
  HeldPlacements& held_;
  const PlacementBook& book_;
  std::unique_ptr<PartitioningStrategy> strategy_;
  std::optional<Error> strategy_error_;
  std::map<std::string, Plan> plans_;  // by fingerprint
  std::map<std::string, int64_t> cooling_until_us_;
  std::map<std::string, uint64_t> epochs_;  // highest ever seen or made
  std::vector<PlanFailed> failures_;
  std::deque<PlacementId> committed_;  // lately, by this node
  struct Lacking {
    uint64_t incarnation = 0;
    Error error;
    int64_t until_us = 0;
  };
  std::map<std::pair<std::string, NodeId>, Lacking> lacking_;  // nodes that have not the files
  std::vector<NodeId> members_seen_;
  int64_t members_since_us_ = 0;
  std::map<PlacementId, std::vector<NodeId>> considered_;  // stale, but no other plan is better
};

// Bytes that a stage takes; 0 when the card contradicts itself.
uint64_t stage_bytes(const Placement& placement, size_t index);

}  // namespace exo
