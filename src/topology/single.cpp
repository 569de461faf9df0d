// SinglePartitioningStrategy: the whole model on one node. The asking node where the model fits
// there, else the node with the most usable memory (of equals the lowest id).
#include <fmt/core.h>

#include <algorithm>

#include "topology/partition_parts.h"

namespace exo {
namespace {

class SinglePartitioningStrategy final : public PartitioningStrategy {
 public:
  explicit SinglePartitioningStrategy(NodeId self) : self_(std::move(self)) {}
  std::string name() const override { return "single"; }

  Result<Partition> partition(const Topology& topology, const ModelCard& card,
                              const PartitionRequest& request) const override {
    if (topology.nodes.empty()) return unavailable("there is no node to place a model on");
    const MemoryNeed need = TRY(MemoryNeed::make(card, request.weight_format));
    const std::vector<KvRoom> choices = TRY(kv_room_choices(card, request));
    const TopologyNode* largest = &topology.nodes.front();
    const TopologyNode* asking = nullptr;
    for (const TopologyNode& node : topology.nodes) {
      if (node.usable_bytes > largest->usable_bytes) largest = &node;
      if (node.id == self_) asking = &node;
    }
    const auto whole = [&](const TopologyNode* node) {
      return std::vector<LayerRange>{{node, 0, card.layer_count}};
    };
    const auto comfortable = [&](const KvRoom& room) {
      return !room.last_resort && asking != nullptr && all_fit(need, whole(asking), room);
    };
    const bool here = std::any_of(choices.begin(), choices.end(), comfortable);
    return place_ranges(card, need, request, whole(here ? asking : largest), name());
  }

 private:
  NodeId self_;
};

}  // namespace

std::unique_ptr<PartitioningStrategy> make_single_partitioning(const NodeId& self) {
  return std::make_unique<SinglePartitioningStrategy>(self);
}

}  // namespace exo
