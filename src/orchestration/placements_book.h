// PlacementBook: the placements of the cluster as this node can read them from gossip and from its
// own stages: which one a request for a model should join. Pure reading, rebuilt with each
// question. Part of the pure core: one thread.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "orchestration/membership.h"

namespace exo {

struct PlacementLookup {
  enum class Kind { none, coming, ready } kind = Kind::none;
  Placement placement;
};

class PlacementBook {
 public:
  explicit PlacementBook(const Membership& membership) : membership_(membership) {}

  // Of several ready ones the lowest (epoch, id); else one that is being loaded.
  PlacementLookup find(const std::string& fingerprint,
                       const std::set<PlacementId>& not_these) const;
  // Every stage's node is here and says that it holds it; head and tail can be reached.
  bool intact(const Placement& placement) const;
  uint64_t highest_epoch(const std::string& fingerprint) const;
  // One entry per placement, ready first.
  std::vector<PlacementInfo> all() const;
  const Placement* by_id(PlacementId id) const;
  // How far the members are that load it, for people; "" when none says.
  std::string progress(const Placement& placement) const;

 private:
  void each(const std::function<void(const NodeId&, const PlacementInfo&)>& visit) const;

  const Membership& membership_;
};

}  // namespace exo
