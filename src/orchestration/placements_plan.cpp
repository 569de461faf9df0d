#include "orchestration/placements_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "topology/memory_need.h"

namespace exo {
namespace {

constexpr int kMaxAttempts = 16;
constexpr size_t kMaxPlans = 32;
constexpr size_t kMaxRemembered = 256;
constexpr int64_t kResendUs = 400'000;
constexpr int64_t kKeepaliveUs = 2'000'000;  // "still wanted", to members that load
constexpr int64_t kNoAnswerUs = 4'000'000;   // alive, but silent on a proposal
constexpr int64_t kCommitUs = 10'000'000;    // the commit is repeated for so long
constexpr int64_t kLackingUs = 300'000'000;
constexpr int64_t kStableUs = 2'000'000;  // membership unchanged before an idle re-plan
constexpr int64_t kIdleUs = 1'000'000;
constexpr int64_t kRoomUs = 5'000'000;  // for idle models to leave
constexpr int64_t kCoolUs = 200'000;

}  // namespace

uint64_t stage_bytes(const Placement& placement, size_t index) {
  const auto need = MemoryNeed::make(placement.card, placement.weight_format);
  if (!need.ok() || index >= placement.stages.size()) return 0;
  const Shard& shard = placement.stages[index].shard;
  if (shard.layer_begin < 0 || shard.layer_end > need->layer_count() ||
      shard.layer_begin >= shard.layer_end)
    return 0;
  return need->shard_bytes(shard.layer_begin, shard.layer_end, placement.kv_capacity_tokens);
}

PlacementPlans::PlacementPlans(CoreContext& context, Membership& membership, HeldPlacements& held,
                               const PlacementBook& book)
    : context_(context), membership_(membership), held_(held), book_(book) {
  auto strategy = make_partitioning_strategy(context.options.partitioning, context.self());
  if (strategy.ok())
    strategy_ = std::move(*strategy);
  else
    strategy_error_ = strategy.error();
}

void PlacementPlans::cool_down(const std::string& fingerprint) {
  if (cooling_until_us_.size() >= kMaxRemembered) cooling_until_us_.clear();
  cooling_until_us_[fingerprint] =
      context_.now_us + kCoolUs + static_cast<int64_t>(context_.random_u64() % (2 * kCoolUs));
}

void PlacementPlans::ensure(const ModelCard& card) {
  if (plans_.contains(card.fingerprint)) return;
  const auto cooling = cooling_until_us_.find(card.fingerprint);
  if (cooling != cooling_until_us_.end() && context_.now_us < cooling->second) return;
  if (plans_.size() >= kMaxPlans)
    return failures_.push_back(
        {card.fingerprint, resource_exhausted("too many models are being placed at once")});
  start(card, 1);
}

void PlacementPlans::start(const ModelCard& card, uint64_t least_epoch) {
  Plan& plan = plans_[card.fingerprint];
  plan.card = card;
  plan.least_epoch = least_epoch;
  if (!propose(plan)) plans_.erase(card.fingerprint);
}

PlacementLookup PlacementPlans::find(const std::string& fingerprint) const {
  const auto found = plans_.find(fingerprint);
  if (found == plans_.end()) return {};
  const Plan& plan = found->second;
  const bool usable = plan.committed && membership_.reachable(plan.placement.head()) &&
                      membership_.reachable(plan.placement.tail());
  return {usable ? PlacementLookup::Kind::ready : PlacementLookup::Kind::coming, plan.placement};
}

std::vector<PlanFailed> PlacementPlans::take_failures() { return std::exchange(failures_, {}); }

// Memory as gossip has it, and what placements still hold there that are known to be over.
Topology PlacementPlans::topology_for(const Plan& plan) const {
  std::vector<NodeInfo> infos;
  for (const NodeId& node : membership_.planning_candidates()) {
    if (plan.refused.contains(node)) continue;
    NodeInfo info = *membership_.info(node);
    if (node == context_.self()) info.device.memory_free_bytes = held_.free_bytes();
    for (const PlacementInfo& listed : info.placements) {
      const Placement& placement = listed.placement;
      const bool over =
          plan.leaving.contains(placement.id) ||
          (node != context_.self() &&
           (held_.dropped(placement.id) ||
            (placement.card.fingerprint == plan.card.fingerprint && !book_.intact(placement))));
      if (!over) continue;
      for (size_t i = 0; i < placement.stages.size(); ++i)
        if (placement.stages[i].node == node)
          info.device.memory_free_bytes += stage_bytes(placement, i);
    }
    infos.push_back(std::move(info));
  }
  Topology topology = make_topology(infos, plan.card.source);
  for (TopologyNode& node : topology.nodes) {
    const auto learnt = plan.usable.find(node.id);
    if (learnt != plan.usable.end())
      node.usable_bytes = std::min(node.usable_bytes, learnt->second);
  }
  return topology;
}

Result<Partition> PlacementPlans::partition_for(const Plan& plan) const {
  if (strategy_error_) return *strategy_error_;
  Topology topology = topology_for(plan);
  if (topology.nodes.empty()) {
    const auto lasts = [](const auto& entry) {  // asking again would change nothing
      const ErrorCode code = entry.second.code;
      return code == ErrorCode::not_found || code == ErrorCode::corrupt ||
             code == ErrorCode::unsupported || code == ErrorCode::invalid_argument;
    };
    if (plan.refused.empty() || !std::all_of(plan.refused.begin(), plan.refused.end(), lasts))
      return unavailable("no node is left to hold it");
    const ErrorCode code = plan.refused.begin()->second.code;
    return Error{
        code, code == ErrorCode::not_found ? "no node here has its files" : "no node can load it"};
  }
  PartitionRequest request = context_.options.partition;
  request.weight_format = context_.options.weight_format;
  return strategy_->partition(topology, plan.card, request);
}

Placement PlacementPlans::make_placement(const Plan& plan, const Partition& partition) {
  const CoreOptions& options = context_.options;
  uint64_t& highest = epochs_[plan.card.fingerprint];
  highest = std::max({highest, book_.highest_epoch(plan.card.fingerprint), plan.least_epoch - 1});
  Placement placement;
  placement.id.value = context_.random_u64() | 1;
  placement.epoch = highest + 1;
  placement.card = plan.card;
  placement.stages = partition.stages;
  placement.considered = membership_.settled_members();
  placement.strategy = options.partitioning;
  placement.weight_format = options.weight_format;
  placement.wire_dtype = options.wire_dtype;
  placement.exact = options.exact;
  placement.context_length = partition.context_length;
  placement.kv_capacity_tokens = partition.kv_capacity_tokens;
  return placement;
}

bool PlacementPlans::propose(Plan& plan) {
  for (auto& [key, lacking] : lacking_) {
    const NodeInfo* info = membership_.info(key.second);
    if (key.first == plan.card.fingerprint && info != nullptr &&
        info->incarnation == lacking.incarnation && context_.now_us < lacking.until_us)
      plan.refused.emplace(key.second, lacking.error);
  }
  if (++plan.attempts > kMaxAttempts) {
    fail(plan, unavailable("the nodes did not agree on a placement"));
    return false;
  }
  const auto partition = partition_for(plan);
  if (!partition.ok()) {
    const bool full = partition.error().code == ErrorCode::resource_exhausted;
    if (full && make_room(plan)) {
      --plan.attempts;
      plan.placement = {};
      plan.members.clear();
      return true;
    }
    Error error = partition.error();
    if (full && fits_beside_none(plan)) {
      error.code = ErrorCode::unavailable;
      error.message += "; other models are in use";
    }
    fail(plan, error);
    return false;
  }
  if (epochs_.size() >= kMaxRemembered) epochs_.clear();
  plan.placement = make_placement(plan, *partition);
  plan.members.clear();
  for (const Stage& stage : plan.placement.stages) plan.members[stage.node] = {};
  plan.committed = false;
  plan.proposed_us = context_.now_us;
  send_proposals(plan);
  return true;
}

// Whether it would fit if no other model were loaded.
bool PlacementPlans::fits_beside_none(Plan& plan) {
  for (const PlacementInfo& info : book_.all())
    if (info.placement.card.fingerprint != plan.card.fingerprint)
      plan.leaving.insert(info.placement.id);
  const bool fits = !plan.leaving.empty() && partition_for(plan).ok();
  plan.leaving.clear();
  return fits;
}

// Idle models leave, the longest unused first, as many as it takes. True: wait for it.
bool PlacementPlans::make_room(Plan& plan) {
  if (plan.room_until_us != 0) return context_.now_us < plan.room_until_us;
  std::vector<PlacementInfo> idle = book_.all();
  std::erase_if(idle, [&](const PlacementInfo& info) {
    return info.placement.card.fingerprint == plan.card.fingerprint ||
           info.state != PlacementState::ready || info.idle_us <= 0;
  });
  std::stable_sort(idle.begin(), idle.end(), [](const PlacementInfo& a, const PlacementInfo& b) {
    return a.idle_us > b.idle_us;
  });
  bool fits = false;
  for (size_t i = 0; i < idle.size() && !fits; ++i) {
    plan.leaving.insert(idle[i].placement.id);
    fits = partition_for(plan).ok();
  }
  if (fits) {
    plan.room_until_us = context_.now_us + kRoomUs;
    for (const PlacementInfo& info : idle)
      if (plan.leaving.contains(info.placement.id))
        context_.send(info.placement.head(),
                      PlacementDrop{info.placement.id, "its room is needed for " + plan.card.id});
  }
  plan.leaving.clear();
  return fits;
}

void PlacementPlans::fail(const Plan& plan, const Error& error) {
  Error out = error;
  out.message = fmt::format("{} cannot be placed: {}", plan.card.id, error.message);
  for (const auto& [node, why] : plan.refused)
    out.message += fmt::format("; {} refused: {}", membership_.name(node), why.message);
  // A node that is silent just now may be back, or known to be dead, in a moment.
  const bool unclear = membership_.any_suspect() ||
                       std::any_of(plan.refused.begin(), plan.refused.end(), [](const auto& entry) {
                         return entry.second.code == ErrorCode::unavailable;
                       });
  if (out.code == ErrorCode::resource_exhausted && unclear) out.code = ErrorCode::unavailable;
  if (out.code == ErrorCode::unavailable) cool_down(plan.card.fingerprint);
  failures_.push_back({plan.card.fingerprint, std::move(out)});
}

void PlacementPlans::send_proposals(Plan& plan) {
  for (auto& [node, member] : plan.members) {
    if (context_.now_us < member.next_send_us) continue;
    member.next_send_us = context_.now_us + (member.accepted ? kKeepaliveUs : kResendUs);
    context_.send(node, PlacementPropose{plan.placement});
  }
}

void PlacementPlans::abandon(Plan& plan, const std::string& reason) {
  for (const auto& [node, member] : plan.members)
    if (membership_.reachable(node)) context_.send(node, PlacementDrop{plan.placement.id, reason});
}

void PlacementPlans::cancel(const std::string& model_id, const std::string& reason) {
  for (auto& [fingerprint, plan] : plans_) {
    if (plan.card.id != model_id || plan.committed) continue;
    abandon(plan, reason);
    fail(plan, {ErrorCode::cancelled, reason});
    cool_down(fingerprint);
  }
  std::erase_if(plans_, [&](const auto& entry) {
    return entry.second.card.id == model_id && !entry.second.committed;
  });
}

void PlacementPlans::replan(const std::string& fingerprint) {
  Plan& plan = plans_.at(fingerprint);
  abandon(plan, "it is being planned again");
  if (!propose(plan)) plans_.erase(fingerprint);
}

void PlacementPlans::on_answer(const NodeId& from, const PlacementAnswer& answer) {
  const auto found = std::find_if(plans_.begin(), plans_.end(), [&](const auto& entry) {
    return entry.second.placement.id == answer.placement;
  });
  if (found == plans_.end()) {
    if (!answer.accepted) return;
    const bool mine =
        std::find(committed_.begin(), committed_.end(), answer.placement) != committed_.end();
    if (mine)
      context_.send(from, PlacementCommit{answer.placement, 0});
    else
      context_.send(from, PlacementDrop{answer.placement, "its maker gave it up"});
    return;
  }
  Plan& plan = found->second;
  const auto member = plan.members.find(from);
  if (member == plan.members.end()) return;
  if (!answer.accepted) return refused(plan, from, answer);
  if (!member->second.accepted) member->second.next_send_us = context_.now_us + kKeepaliveUs;
  member->second.accepted = true;
  member->second.loaded |= answer.loaded;
  const bool all = std::all_of(plan.members.begin(), plan.members.end(),
                               [](const auto& entry) { return entry.second.loaded; });
  if (all && !plan.committed) commit(plan);
}

void PlacementPlans::refused(Plan& plan, const NodeId& from, const PlacementAnswer& answer) {
  const std::string fingerprint = plan.card.fingerprint;
  if (answer.error.code == ErrorCode::already_exists ||
      answer.error.code == ErrorCode::unavailable) {
    abandon(plan, "another placement of this model is made");
    plans_.erase(fingerprint);
    return cool_down(fingerprint);
  }
  if (answer.error.code == ErrorCode::cancelled) {
    abandon(plan, answer.error.message);
    fail(plan, answer.error);
    plans_.erase(fingerprint);
    return cool_down(fingerprint);
  }
  size_t index = 0;
  while (plan.placement.stages[index].node != from) ++index;
  const uint64_t needed = stage_bytes(plan.placement, index);
  if (answer.missing_bytes > 0 && answer.missing_bytes < needed) {
    plan.usable[from] = needed - answer.missing_bytes;
  } else {
    plan.refused[from] = answer.error;
    const NodeInfo* info = membership_.info(from);
    if (lacking_.size() >= kMaxRemembered) lacking_.clear();
    if (answer.error.code == ErrorCode::not_found && info != nullptr)
      lacking_[{fingerprint, from}] = {info->incarnation, answer.error,
                                       context_.now_us + kLackingUs};
  }
  replan(fingerprint);
}

void PlacementPlans::commit(Plan& plan) {
  plan.committed = true;
  plan.committed_us = context_.now_us;
  committed_.push_back(plan.placement.id);
  if (committed_.size() > kMaxRemembered) committed_.pop_front();
  for (auto& [node, member] : plan.members) {
    member.next_send_us = context_.now_us + kResendUs;
    context_.send(node, PlacementCommit{plan.placement.id, plan.placement.epoch});
  }
}

// Every member's own gossip shows it committed.
bool PlacementPlans::settled(const Plan& plan) const {
  return std::all_of(plan.members.begin(), plan.members.end(), [&](const auto& entry) {
    const NodeInfo* info = membership_.info(entry.first);
    return info != nullptr && std::any_of(info->placements.begin(), info->placements.end(),
                                          [&](const PlacementInfo& listed) {
                                            return listed.placement.id == plan.placement.id &&
                                                   (listed.state == PlacementState::ready ||
                                                    listed.state == PlacementState::draining);
                                          });
  });
}

void PlacementPlans::tick_plan(const std::string& fingerprint, Plan& plan,
                               std::vector<std::string>& done, std::vector<std::string>& again) {
  if (plan.committed) {
    if (settled(plan) || context_.now_us - plan.committed_us >= kCommitUs)
      return done.push_back(fingerprint);
    for (auto& [node, member] : plan.members) {
      if (context_.now_us < member.next_send_us) continue;
      member.next_send_us = context_.now_us + kResendUs;
      context_.send(node, PlacementCommit{plan.placement.id, plan.placement.epoch});
    }
    return;
  }
  if (plan.members.empty()) return again.push_back(fingerprint);  // waits for room
  send_proposals(plan);
  if (context_.now_us - plan.proposed_us < kNoAnswerUs) return;
  for (const auto& [node, member] : plan.members) {
    if (member.accepted) continue;
    plan.refused[node] = unavailable("it did not answer the proposal");
    again.push_back(fingerprint);
    return;
  }
}

void PlacementPlans::on_lost(const LostPeer& lost) {
  std::vector<std::string> hit;
  for (const auto& [fingerprint, plan] : plans_)
    if (plan.members.contains(lost.node)) hit.push_back(fingerprint);
  for (const std::string& fingerprint : hit) {
    Plan& plan = plans_.at(fingerprint);
    if (plan.committed)
      plans_.erase(fingerprint);
    else
      replan(fingerprint);
  }
}

bool PlacementPlans::stale(const HeldStage& stage) const {
  if (stage.placement.considered == members_seen_) return false;
  const auto checked = considered_.find(stage.placement.id);
  return checked == considered_.end() || checked->second != members_seen_;
}

// Planned anew for the membership of now; when the result is the same, the old one stays.
void PlacementPlans::reconsider(const HeldStage& stage) {
  Plan trial;
  trial.card = stage.placement.card;
  for (const auto& [key, lacking] : lacking_)
    if (key.first == trial.card.fingerprint) trial.refused.emplace(key.second, lacking.error);
  // Its maker asked these already and went without them; their reasons are not asked again.
  for (const NodeId& node : stage.placement.considered)
    if (std::none_of(stage.placement.stages.begin(), stage.placement.stages.end(),
                     [&](const Stage& used) { return used.node == node; }))
      trial.refused.emplace(node, unavailable("it was left out before"));
  const PlacementId id = stage.placement.id;
  if (considered_.size() >= kMaxRemembered) considered_.clear();
  considered_[id] = members_seen_;
  if (strategy_error_) return;
  Topology topology = topology_for(trial);
  for (TopologyNode& node : topology.nodes) {
    node.held = {};  // what counts is what is loaded: a change of a disk is no reason to move it
    for (size_t i = 0; i < stage.placement.stages.size(); ++i) {
      const Shard& shard = stage.placement.stages[i].shard;
      if (stage.placement.stages[i].node != node.id) continue;
      node.usable_bytes += stage_bytes(stage.placement, i);
      node.held = {{{shard.layer_begin, shard.layer_end}}, shard.first(), shard.last()};
    }
  }
  PartitionRequest request = context_.options.partition;
  request.weight_format = context_.options.weight_format;
  const auto partition = strategy_->partition(topology, trial.card, request);
  if (!partition.ok() || partition->stages == stage.placement.stages) return;
  const ModelCard card = stage.placement.card;
  const uint64_t epoch = stage.placement.epoch;
  held_.retire(id, "it is planned again, because nodes joined or left");
  if (!plans_.contains(card.fingerprint)) start(card, epoch + 1);
}

void PlacementPlans::tend_held() {
  const std::vector<NodeId> members = membership_.members();
  if (members != members_seen_) {
    members_seen_ = members;
    members_since_us_ = context_.now_us;
  }
  std::vector<PlacementId> losing, idle;
  for (const auto& [id, stage] : held_.held()) {
    if (!stage.head() || stage.state != HeldStage::State::ready) continue;
    const PlacementLookup best = book_.find(stage.placement.card.fingerprint, {id});
    if (best.kind == PlacementLookup::Kind::ready &&
        std::pair(best.placement.epoch, best.placement.id) < std::pair(stage.placement.epoch, id)) {
      losing.push_back(id);
      continue;
    }
    if (stage.sessions.size() == 0 && context_.now_us - stage.idle_since_us >= kIdleUs &&
        context_.now_us - members_since_us_ >= kStableUs && stale(stage) &&
        !plans_.contains(stage.placement.card.fingerprint))
      idle.push_back(id);
  }
  for (const PlacementId id : losing)
    held_.drain(id, "another placement of this model was made first");
  for (const PlacementId id : idle) {
    const auto found = held_.held().find(id);
    if (found != held_.held().end()) reconsider(found->second);
  }
}

void PlacementPlans::tick() {
  std::vector<std::string> done, again;
  for (auto& [fingerprint, plan] : plans_) tick_plan(fingerprint, plan, done, again);
  for (const std::string& fingerprint : done) plans_.erase(fingerprint);
  for (const std::string& fingerprint : again) replan(fingerprint);
  tend_held();
}

}  // namespace exo
