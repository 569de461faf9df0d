#include "orchestration/placements_held.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "topology/memory_need.h"
#include "topology/topology.h"

namespace exo {
namespace {

constexpr size_t kMaxHeld = 32;
constexpr size_t kMaxDropped = 512;
constexpr size_t kMaxStages = 256;
constexpr uint64_t kMaxStageBytes = uint64_t{1} << 50;
constexpr int64_t kUncommittedUs = 15'000'000;  // its proposer says nothing any more
constexpr int64_t kUnlistedUs = 5'000'000;      // a member no longer names it in its gossip

constexpr int64_t kIdleUs = 500'000;  // without a session, before it is called idle

bool transient(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::deadline_exceeded ||
         code == ErrorCode::cancelled || code == ErrorCode::resource_exhausted;
}

}  // namespace

HeldPlacements::HeldPlacements(CoreContext& context, Membership& membership)
    : context_(context), membership_(membership) {
  on_device(context.options.self.device);
}

HeldStage* HeldPlacements::find(PlacementId id) {
  const auto found = held_.find(id);
  return found == held_.end() ? nullptr : &found->second;
}

// For messages that need a loaded stage. A stranger's question is answered; a stage that waits for
// its commit takes the first message of a session as one.
HeldStage* HeldPlacements::find_serving(PlacementId id, const NodeId& from) {
  HeldStage* stage = find(id);
  if (stage == nullptr) {
    context_.send(from, PlacementGone{id});
    return nullptr;
  }
  if (stage->state == HeldStage::State::loading) return nullptr;
  if (stage->state == HeldStage::State::loaded) stage->state = HeldStage::State::ready;
  return stage;
}

void HeldPlacements::on_device(const DeviceCapabilities& device) {
  measured_free_bytes_ = device.memory_free_bytes;
  promised_bytes_ = 0;
  for (const auto& [id, stage] : held_)
    if (stage.state == HeldStage::State::loading)
      promised_bytes_ += static_cast<int64_t>(stage.bytes);
}

uint64_t HeldPlacements::free_bytes() const {
  if (promised_bytes_ < 0) return measured_free_bytes_ + static_cast<uint64_t>(-promised_bytes_);
  const uint64_t promised = static_cast<uint64_t>(promised_bytes_);
  return measured_free_bytes_ > promised ? measured_free_bytes_ - promised : 0;
}

uint64_t HeldPlacements::usable_bytes() const {
  DeviceCapabilities device = membership_.self().device;
  device.memory_free_bytes = free_bytes();
  return usable_memory_bytes(device);
}

std::optional<Error> HeldPlacements::check(const Placement& placement, size_t* index) const {
  if (placement.stages.empty() || placement.stages.size() > kMaxStages)
    return invalid_argument("a placement needs 1 to 256 stages");
  int next_layer = 0;
  std::set<NodeId> nodes;
  for (size_t i = 0; i < placement.stages.size(); ++i) {
    const Stage& stage = placement.stages[i];
    if (stage.shard.layer_begin != next_layer || stage.shard.layer_end <= next_layer ||
        stage.shard.layer_count != placement.card.layer_count)
      return invalid_argument("the stages do not cover the layers in order");
    if (!nodes.insert(stage.node).second)
      return invalid_argument("a node appears twice in the placement");
    next_layer = stage.shard.layer_end;
    if (stage.node == context_.self()) *index = i;
  }
  if (next_layer != placement.card.layer_count)
    return invalid_argument("the stages do not cover all layers");
  if (placement.kv_capacity_tokens <= 0 || placement.context_length <= 0)
    return invalid_argument("a placement needs room for a context");
  return std::nullopt;
}

bool HeldPlacements::may_replace(const NodeId& from, const HeldStage& old) const {
  if (from == old.placement.head()) return true;
  const auto& stages = old.placement.stages;
  if (std::any_of(stages.begin(), stages.end(),
                  [&](const Stage& stage) { return !membership_.healthy(stage.node); }))
    return true;
  return (old.head() || old.tail()) && old.sessions.size() == 0 && !old.run.busy();
}

// Placements of one model made at once: the lower id stays. A higher epoch was made knowing the
// older one, because its maker found it broken: it may take its room.
std::optional<Error> HeldPlacements::settle_conflicts(const NodeId& from,
                                                      const Placement& placement,
                                                      uint64_t need_bytes) {
  std::vector<PlacementId> doomed;
  uint64_t room = usable_bytes();
  for (const auto& [id, old] : held_) {
    if (old.placement.card.fingerprint != placement.card.fingerprint) continue;
    const bool same_epoch = old.placement.epoch == placement.epoch;
    if (old.placement.epoch > placement.epoch ||
        (same_epoch && (id < placement.id || old.committed())))
      return Error{ErrorCode::already_exists, "another placement of this model is here already"};
    if (!old.committed()) {
      doomed.push_back(id);
      room += old.bytes;
    }
  }
  for (const auto& [id, old] : held_) {
    if (room >= need_bytes) break;
    if (old.placement.card.fingerprint != placement.card.fingerprint || !old.committed()) continue;
    if (!may_replace(from, old))
      return Error{ErrorCode::already_exists, "an older placement of this model is still in use"};
    doomed.push_back(id);
    room += old.bytes;
  }
  for (const PlacementId id : doomed) {
    const HeldStage* old = find(id);
    if (!old->committed())
      refuse(old->proposer, id, {ErrorCode::already_exists, "another placement came first"});
    drop(id, "it is replaced by a newer placement", true);
  }
  return std::nullopt;
}

void HeldPlacements::on_propose(const NodeId& from, const PlacementPropose& propose) {
  const Placement& placement = propose.placement;
  if (HeldStage* known = find(placement.id)) {
    known->proposer_heard_us = context_.now_us;
    return answer(*known);
  }
  if (dropped(placement.id))
    return refuse(from, placement.id, unavailable("this placement was dropped here"));
  size_t index = kMaxStages;
  if (auto error = check(placement, &index)) return refuse(from, placement.id, *error);
  if (index == kMaxStages) return;
  for (const Stage& stage : placement.stages)
    if (!membership_.reachable(stage.node))
      return refuse(from, placement.id,
                    unavailable(fmt::format("no connection to {}", membership_.name(stage.node))));
  const auto need = MemoryNeed::make(placement.card, placement.weight_format);
  if (!need.ok()) return refuse(from, placement.id, need.error());
  const Shard& shard = placement.stages[index].shard;
  const uint64_t bytes =
      need->shard_bytes(shard.layer_begin, shard.layer_end, placement.kv_capacity_tokens);
  if (bytes > kMaxStageBytes)
    return refuse(from, placement.id, invalid_argument("the shard's size cannot be right"));
  if (auto error = settle_conflicts(from, placement, bytes))
    return refuse(from, placement.id, *error);
  const uint64_t usable = usable_bytes();
  if (bytes > usable && !context_.options.partition.allow_disk)
    return refuse(from, placement.id,
                  resource_exhausted(
                      fmt::format("needs {}, has {} free for it", in_gb(bytes), in_gb(usable))),
                  bytes - usable);
  if (held_.size() >= kMaxHeld)
    return refuse(from, placement.id, resource_exhausted("too many models are loaded here"));
  HeldStage& stage =
      held_.try_emplace(placement.id, context_, placement, index, from).first->second;
  stage.bytes = bytes;
  promised_bytes_ += static_cast<int64_t>(bytes);
  context_.effects.push_back(LoadShard{placement, index});
  answer(stage);
}

void HeldPlacements::answer(const HeldStage& stage) {
  const bool loaded = stage.state != HeldStage::State::loading;
  context_.send(stage.proposer, PlacementAnswer{stage.placement.id, true, loaded, {}, 0});
}

void HeldPlacements::refuse(const NodeId& to, PlacementId id, Error error, uint64_t missing_bytes) {
  context_.send(to, PlacementAnswer{id, false, false, std::move(error), missing_bytes});
}

void HeldPlacements::on_loaded(PlacementId id) {
  HeldStage* stage = find(id);
  if (stage == nullptr || stage->state != HeldStage::State::loading) return;
  stage->state = HeldStage::State::loaded;
  stage->idle_since_us = context_.now_us;
  answer(*stage);
}

void HeldPlacements::on_loading(PlacementId id, std::string progress) {
  constexpr size_t kMostBytes = 200;
  HeldStage* stage = find(id);
  if (stage == nullptr || stage->state != HeldStage::State::loading) return;
  progress.resize(std::min(progress.size(), kMostBytes));
  stage->progress = std::move(progress);
}

void HeldPlacements::on_load_failed(PlacementId id, const Error& error) {
  const HeldStage* stage = find(id);
  if (stage == nullptr) return;
  refuse(stage->proposer, id, error);
  drop(id, error.message, stage->committed());
}

void HeldPlacements::on_commit(const NodeId& from, const PlacementCommit& commit) {
  HeldStage* stage = find(commit.placement);
  if (stage == nullptr) return context_.send(from, PlacementGone{commit.placement});
  if (stage->state == HeldStage::State::loaded) stage->state = HeldStage::State::ready;
}

// Its head, or its maker as long as it is not committed, may end it. Others ask its head.
void HeldPlacements::on_drop(const NodeId& from, const PlacementDrop& message) {
  HeldStage* stage = find(message.placement);
  if (stage == nullptr) return;
  if (!stage->committed()) {
    if (from != stage->proposer && stage->head())
      refuse(stage->proposer, message.placement, {ErrorCode::cancelled, message.reason});
    if (from == stage->proposer || stage->head() || from == stage->placement.head())
      drop(message.placement, message.reason, false);
  } else if (stage->head()) {
    drain(message.placement, message.reason);
  } else if (from == stage->placement.head()) {
    drop(message.placement, message.reason, false);
  }
}

void HeldPlacements::on_gone(const NodeId& from, const PlacementGone& gone) {
  const HeldStage* stage = find(gone.placement);
  if (stage == nullptr) return;
  const auto& stages = stage->placement.stages;
  const bool member = std::any_of(stages.begin(), stages.end(),
                                  [&](const Stage& other) { return other.node == from; });
  if (member)
    drop(gone.placement, fmt::format("{} does not hold it any more", membership_.name(from)), true);
}

// `broken`: nobody else knows yet. Members hear PlacementGone, askers the reason.
void HeldPlacements::drop(PlacementId id, const std::string& reason, bool broken) {
  const auto found = held_.find(id);
  if (found == held_.end()) return;
  const HeldStage& stage = found->second;
  if (broken)
    for (const Stage& other : stage.placement.stages)
      if (other.node != context_.self() && membership_.reachable(other.node))
        context_.send(other.node, PlacementGone{id});
  for (const NodeId& asker : stage.sessions.askers())
    if (membership_.reachable(asker)) context_.send(asker, PlacementDrop{id, reason});
  promised_bytes_ -= static_cast<int64_t>(stage.bytes);
  held_.erase(found);
  context_.effects.push_back(UnloadShard{id});
  if (!dropped_.insert(id).second) return;
  dropped_order_.push_back(id);
  if (dropped_order_.size() <= kMaxDropped) return;
  dropped_.erase(dropped_order_.front());
  dropped_order_.pop_front();
}

void HeldPlacements::drain(PlacementId id, const std::string& reason) {
  HeldStage* stage = find(id);
  if (stage == nullptr || !stage->committed() || !stage->head()) return;
  stage->state = HeldStage::State::draining;
  stage->drain_reason = reason;
}

void HeldPlacements::retire(PlacementId id, const std::string& reason) {
  const HeldStage* stage = find(id);
  if (stage == nullptr) return;
  for (const Stage& other : stage->placement.stages)
    if (other.node != context_.self()) context_.send(other.node, PlacementDrop{id, reason});
  drop(id, reason, false);
}

void HeldPlacements::on_session_open(const NodeId& from, const SessionOpen& open) {
  if (open.asker != from) return;
  HeldStage* stage = find_serving(open.placement, from);
  if (stage == nullptr || open.epoch != stage->placement.epoch) return;
  stage->sessions.on_open(open, stage->state == HeldStage::State::draining);
}

void HeldPlacements::on_session_close(const NodeId& from, const SessionClose& close) {
  HeldStage* stage = find(close.placement);
  if (stage == nullptr) return context_.send(from, SessionClosed{close.placement, close.session});
  stage->sessions.on_close(from, close.session);
}

void HeldPlacements::on_session_resume(const NodeId& from, const SessionResume& resume) {
  if (HeldStage* stage = find_serving(resume.placement, from))
    stage->sessions.on_resume(from, resume);
}

void HeldPlacements::on_forward(const NodeId& from, Forward forward) {
  HeldStage* stage = find_serving(forward.batch.placement, from);
  if (stage == nullptr || stage->head()) return;
  if (stage->placement.stages[stage->index - 1].node == from)
    stage->run.on_forward(std::move(forward));
}

void HeldPlacements::on_result(const NodeId& from, BatchResult result) {
  HeldStage* stage = find_serving(result.placement, from);
  if (stage == nullptr || stage->placement.tail() != from) return;
  for (BatchResult& next : stage->run.on_result(std::move(result))) {
    stage->sessions.record(next.tokens);
    context_.effects.push_back(SubmitToStage{stage->placement.id, std::move(next)});
  }
}

void HeldPlacements::on_gap(const NodeId& from, const BatchGap& gap) {
  if (HeldStage* stage = find_serving(gap.placement, from)) stage->run.on_gap(gap);
}

void HeldPlacements::on_stage_error(const NodeId& from, const StageError& error) {
  HeldStage* stage = find(error.placement);
  if (stage == nullptr || !stage->head()) return;
  // A new run costs little, loading again a lot: a placement ends only when errors repeat with
  // nothing achieved in between.
  if (stage->run.fruitless_runs() < (transient(error.error.code) ? 6 : 2))
    return stage->run.on_stage_error(error);
  const std::string reason =
      fmt::format("{} could not compute: {}", membership_.name(from), error.error.message);
  retire(error.placement, reason);
}

void HeldPlacements::on_progress(const NodeId& from, const std::vector<StageProgress>& progress) {
  for (const StageProgress& item : progress)
    if (HeldStage* stage = find(item.placement)) stage->run.on_progress(from, item);
}

void HeldPlacements::forward_tokens(HeldStage& stage, const BatchResult& result) {
  if (!stage.run.on_result_made(result)) return;
  stage.sessions.send_to_askers(result.tokens);
  if (stage.head()) stage.sessions.record(result.tokens);
}

void HeldPlacements::on_output(StageOutput output) {
  HeldStage* stage = find(output.placement);
  if (stage == nullptr) return;
  std::visit(
      [&](auto& event) {
        using Event = std::decay_t<decltype(event)>;
        if constexpr (std::is_same_v<Event, SessionReady>) {
          stage->sessions.on_ready(event);
        } else if constexpr (std::is_same_v<Event, SessionAccepted>) {
          stage->sessions.on_accepted(event);
        } else if constexpr (std::is_same_v<Event, SessionRefused>) {
          stage->sessions.on_refused(event);
        } else if constexpr (std::is_same_v<Event, Forward>) {
          stage->run.on_forward_made(std::move(event));
        } else if constexpr (std::is_same_v<Event, BatchResult>) {
          forward_tokens(*stage, event);
        } else if constexpr (std::is_same_v<Event, StageError>) {
          stage->run.on_error_made(event);
        }  // SessionClosed: the asker was answered when it asked
      },
      output.event);
}

void HeldPlacements::on_lost(const LostPeer& lost) {
  std::vector<PlacementId> broken;
  for (auto& [id, stage] : held_) {
    const auto& stages = stage.placement.stages;
    if (std::any_of(stages.begin(), stages.end(),
                    [&](const Stage& other) { return other.node == lost.node; }))
      broken.push_back(id);
    else
      stage.sessions.close_of(lost.node);
  }
  for (const PlacementId id : broken) drop(id, fmt::format("{} {}", lost.name, lost.how), true);
}

void HeldPlacements::on_link_up(const NodeId& peer) {
  for (auto& [id, stage] : held_)
    if (stage.committed()) stage.run.on_link_up(peer);
}

bool HeldPlacements::listed_by(const NodeId& node, PlacementId id, PlacementState* state) const {
  const NodeInfo* info = membership_.info(node);
  if (info == nullptr) return false;
  for (const PlacementInfo& placement : info->placements) {
    if (placement.placement.id != id) continue;
    if (state != nullptr) *state = placement.state;
    return true;
  }
  return false;
}

bool HeldPlacements::listed_everywhere(const HeldStage& stage) const {
  return std::all_of(
      stage.placement.stages.begin(), stage.placement.stages.end(), [&](const Stage& other) {
        return other.node == context_.self() || listed_by(other.node, stage.placement.id);
      });
}

void HeldPlacements::give_up_unfinished(const HeldStage& stage,
                                        std::vector<PlacementId>& doomed) const {
  const bool silent = context_.now_us - stage.proposer_heard_us >= kUncommittedUs;
  if (membership_.present(stage.proposer) && !silent) return;
  doomed.push_back(stage.placement.id);
}

void HeldPlacements::tick() {
  std::vector<PlacementId> unfinished, broken, drained;
  for (auto& [id, stage] : held_) {
    if (!stage.committed()) {
      PlacementState head_state = PlacementState::loading;
      if (stage.state == HeldStage::State::loaded &&
          listed_by(stage.placement.head(), id, &head_state) &&
          head_state == PlacementState::ready && !stage.head())
        stage.state = HeldStage::State::ready;  // the commit was lost, the head has it
      else
        give_up_unfinished(stage, unfinished);
      continue;
    }
    stage.run.tick();
    stage.sessions.tick();
    if (stage.sessions.size() > 0) stage.idle_since_us = context_.now_us;
    if (listed_everywhere(stage))
      stage.unlisted_since_us = 0;
    else if (stage.unlisted_since_us == 0)
      stage.unlisted_since_us = context_.now_us;
    else if (context_.now_us - stage.unlisted_since_us >= kUnlistedUs)
      broken.push_back(id);
    if (stage.state == HeldStage::State::draining && stage.sessions.size() == 0)
      drained.push_back(id);
  }
  for (const PlacementId id : unfinished) drop(id, "its maker is gone", true);
  for (const PlacementId id : broken) drop(id, "a member does not hold it any more", true);
  for (const PlacementId id : drained)
    if (const HeldStage* stage = find(id)) retire(id, std::string(stage->drain_reason));
}

std::vector<PlacementInfo> HeldPlacements::infos() const {
  std::vector<PlacementInfo> infos;
  for (const auto& [id, stage] : held_) {
    PlacementState state = PlacementState::loading;
    if (stage.state == HeldStage::State::ready) state = PlacementState::ready;
    if (stage.state == HeldStage::State::draining) state = PlacementState::draining;
    const bool idle = stage.head() && stage.state == HeldStage::State::ready &&
                      stage.sessions.size() == 0 &&
                      context_.now_us - stage.idle_since_us >= kIdleUs;
    infos.push_back({stage.placement, state, state == PlacementState::loading ? stage.progress : "",
                     idle ? context_.now_us - stage.idle_since_us : 0});
  }
  return infos;
}

bool HeldPlacements::take_changed() {
  bool changed = held_.size() != published_.size();
  size_t i = 0;
  for (const auto& [id, stage] : held_) {
    if (changed) break;
    changed = published_[i++] != Published{id, stage.state, stage.progress};
  }
  if (!changed) return false;
  published_.clear();
  for (const auto& [id, stage] : held_) published_.push_back({id, stage.state, stage.progress});
  return true;
}

std::vector<StageProgress> HeldPlacements::progress() const {
  std::vector<StageProgress> all;
  for (const auto& [id, stage] : held_)
    if (stage.committed() && !stage.head()) all.push_back(stage.run.progress());
  return all;
}

bool HeldPlacements::busy() const {
  return std::any_of(held_.begin(), held_.end(), [](const auto& entry) {
    const HeldStage& stage = entry.second;
    return !stage.committed() || stage.state == HeldStage::State::draining ||
           stage.sessions.size() > 0 || stage.run.busy();
  });
}

}  // namespace exo
