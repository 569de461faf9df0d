// Orders of the nodes of a ring: every one of a few nodes, and those under which most bytes of
// weights stay on the disks where they are. Internal to topology/. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "core/model_card.h"
#include "topology/partition_parts.h"

namespace exo {

using Ring = std::vector<const TopologyNode*>;  // borrowed from the Topology

// ends[i]: where the range of ring[i] ends; it begins where the one before ends.
std::vector<LayerRange> ranges_of(const Ring& ring, const std::vector<int>& ends);

constexpr size_t kFewNodes = 6;
// All orders of at most kFewNodes nodes but the given one.
std::vector<Ring> every_other_order(const Ring& ring);

// What nodes have on their disks of the model that is being placed.
class KeptBytes {
 public:
  KeptBytes(const Ring& ring, const ModelCard& card);  // borrows both
  bool none() const { return held_before_.empty(); }
  uint64_t of(const LayerRange& range) const;
  uint64_t of(const std::vector<LayerRange>& ranges) const;

 private:
  const ModelCard& card_;
  // Of nodes that hold something: [i] = bytes of the held ones among the layers before i.
  std::map<const TopologyNode*, std::vector<uint64_t>> held_before_;
};

struct RankedRing {
  Ring ring;
  uint64_t kept_bytes = 0;
};
// The orders worth trying, those that keep most first; of equals the usual one comes first, then
// those like it. Of a few nodes all of them; of more those that a search by swapping two nodes
// finds, from the usual order and from the one in which the held layers lie. `ends` cuts a ring.
std::vector<RankedRing> orders_that_keep(const Ring& usual, const KeptBytes& kept,
                                         const std::function<std::vector<int>(const Ring&)>& ends);

}  // namespace exo
