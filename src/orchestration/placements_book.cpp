#include "orchestration/placements_book.h"

#include <algorithm>
#include <utility>

namespace exo {
namespace {

std::pair<uint64_t, PlacementId> rank(const Placement& placement) {
  return {placement.epoch, placement.id};
}

}  // namespace

void PlacementBook::each(
    const std::function<void(const NodeId&, const PlacementInfo&)>& visit) const {
  for (const NodeId& node : membership_.members())
    if (const NodeInfo* info = membership_.info(node))
      for (const PlacementInfo& placement : info->placements) visit(node, placement);
}

bool PlacementBook::intact(const Placement& placement) const {
  if (placement.stages.empty()) return false;
  if (!membership_.reachable(placement.head()) || !membership_.reachable(placement.tail()))
    return false;
  return std::all_of(placement.stages.begin(), placement.stages.end(), [&](const Stage& stage) {
    const NodeInfo* info = membership_.info(stage.node);
    return info != nullptr && std::any_of(info->placements.begin(), info->placements.end(),
                                          [&](const PlacementInfo& listed) {
                                            return listed.placement.id == placement.id;
                                          });
  });
}

PlacementLookup PlacementBook::find(const std::string& fingerprint,
                                    const std::set<PlacementId>& not_these) const {
  PlacementLookup best;
  each([&](const NodeId& node, const PlacementInfo& listed) {
    const Placement& placement = listed.placement;
    if (placement.card.fingerprint != fingerprint || placement.stages.empty()) return;
    if (not_these.contains(placement.id)) return;
    PlacementLookup::Kind kind = PlacementLookup::Kind::coming;
    if (node == placement.head()) {
      if (listed.state == PlacementState::ready)
        kind = PlacementLookup::Kind::ready;
      else if (listed.state != PlacementState::loading && listed.state != PlacementState::proposed)
        return;
    } else if (listed.state != PlacementState::loading) {
      return;  // the head's word counts
    }
    if (kind == PlacementLookup::Kind::ready && !intact(placement)) return;
    if (kind == PlacementLookup::Kind::coming &&
        !std::all_of(placement.stages.begin(), placement.stages.end(),
                     [&](const Stage& stage) { return membership_.present(stage.node); }))
      return;
    if (kind < best.kind) return;
    if (kind == best.kind && rank(best.placement) <= rank(placement)) return;
    best = {kind, placement};
  });
  return best;
}

std::string PlacementBook::progress(const Placement& placement) const {
  std::string text;
  each([&](const NodeId& node, const PlacementInfo& listed) {
    if (listed.placement.id != placement.id || listed.state != PlacementState::loading ||
        listed.why.empty())
      return;
    if (!text.empty()) text += "; ";
    if (placement.stages.size() > 1) text += membership_.name(node) + ": ";
    text += listed.why;
  });
  return text;
}

uint64_t PlacementBook::highest_epoch(const std::string& fingerprint) const {
  uint64_t highest = 0;
  each([&](const NodeId&, const PlacementInfo& listed) {
    if (listed.placement.card.fingerprint == fingerprint)
      highest = std::max(highest, listed.placement.epoch);
  });
  return highest;
}

std::vector<PlacementInfo> PlacementBook::all() const {
  std::map<PlacementId, PlacementInfo> found;
  each([&](const NodeId& node, const PlacementInfo& listed) {
    if (listed.placement.stages.empty()) return;
    const auto [entry, fresh] = found.emplace(listed.placement.id, listed);
    if (!fresh && node == listed.placement.head()) entry->second = listed;
  });
  std::vector<PlacementInfo> all;
  for (auto& [id, info] : found) all.push_back(std::move(info));
  std::stable_sort(all.begin(), all.end(), [](const PlacementInfo& a, const PlacementInfo& b) {
    return (a.state == PlacementState::ready) > (b.state == PlacementState::ready);
  });
  return all;
}

const Placement* PlacementBook::by_id(PlacementId id) const {
  const Placement* found = nullptr;
  each([&](const NodeId&, const PlacementInfo& listed) {
    if (listed.placement.id == id) found = &listed.placement;
  });
  return found;
}

}  // namespace exo
