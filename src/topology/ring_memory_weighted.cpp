// RingMemoryWeightedPartitioningStrategy: every node takes part, with layers in proportion to its
// usable memory.
//
// Ring order: usable memory descending, then id; but the second largest node comes last, because
// both ends carry more than layers (the head embeds and schedules, the tail holds the output head
// and samples); other ends are tried where that order holds the model nowhere. Shares are whole
// layers by largest remainder, at least one each. Where a share and its KV do not fit, boundaries
// move as little as possible until everything fits. A node is left out only when there are more
// nodes than layers or when no cut with it fits, the smallest first.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "topology/layer_ranges.h"
#include "topology/partition_parts.h"

namespace exo {
namespace {

using Ring = std::vector<const TopologyNode*>;
using OptionalCost = std::optional<RangeCost>;

constexpr uint64_t kMaxWeight = uint64_t{1} << 40;  // of KiB: no product below overflows

uint64_t weight_of(const TopologyNode& node) {
  return std::clamp<uint64_t>(node.usable_bytes >> 10, 1, kMaxWeight);
}

Ring ring_order(const Topology& topology, bool with_empty) {
  Ring ring;
  for (const TopologyNode& node : topology.nodes)
    if (with_empty || node.usable_bytes > 0) ring.push_back(&node);
  std::sort(ring.begin(), ring.end(), [](const TopologyNode* a, const TopologyNode* b) {
    return a->usable_bytes != b->usable_bytes ? a->usable_bytes > b->usable_bytes : a->id < b->id;
  });
  if (ring.size() > 2) std::rotate(ring.begin() + 1, ring.begin() + 2, ring.end());
  return ring;
}

// Largest remainder, at least one each: where rounding gave nothing, the node furthest above its
// fair share pays. Needs layers >= ring.size().
std::vector<int> proportional_layers(const Ring& ring, int layers) {
  uint64_t sum = 0;
  for (const TopologyNode* node : ring) sum += weight_of(*node);
  const size_t nodes = ring.size();
  std::vector<int> share(nodes);
  std::vector<uint64_t> exact(nodes);  // layers * weight: the fair share times `sum`
  std::vector<size_t> by_remainder(nodes);
  int given = 0;
  for (size_t i = 0; i < nodes; ++i) {
    exact[i] = weight_of(*ring[i]) * static_cast<uint64_t>(layers);
    share[i] = static_cast<int>(exact[i] / sum);
    given += share[i];
    by_remainder[i] = i;
  }
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](size_t a, size_t b) { return exact[a] % sum > exact[b] % sum; });
  for (size_t i = 0; given < layers; ++i, ++given) ++share[by_remainder[i]];
  for (size_t i = 0; i < nodes; ++i) {
    if (share[i] > 0) continue;
    const auto surplus = [&](size_t node) {
      return static_cast<double>(share[node]) -
             static_cast<double>(exact[node]) / static_cast<double>(sum);
    };
    size_t payer = nodes;
    for (size_t j = 0; j < nodes; ++j)
      if (share[j] > 1 && (payer == nodes || surplus(j) > surplus(payer))) payer = j;
    --share[payer];
    ++share[i];
  }
  return share;
}

std::vector<LayerRange> ranges_of(const Ring& ring, const std::vector<int>& ends) {
  std::vector<LayerRange> ranges;
  int begin = 0;
  for (size_t i = 0; i < ring.size(); ++i) {
    if (ends[i] > begin) ranges.push_back({ring[i], begin, ends[i]});
    begin = ends[i];
  }
  return ranges;
}

std::vector<int> proportional_ends(const Ring& ring, int layers) {
  std::vector<int> ends = proportional_layers(ring, layers);
  for (size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
  return ends;
}

// The nodes that can take part: as many as possible, of equals those with the most memory.
struct Chosen {
  KvRoom room;
  Ring ring;
  size_t left_out = std::numeric_limits<size_t>::max();
};

std::optional<Chosen> choose_nodes(const Ring& ring, const MemoryNeed& need, const KvRoom& room) {
  const auto cost = [&](int node, int begin, int end) -> OptionalCost {
    const TopologyNode* owner = ring[static_cast<size_t>(node)];
    if (begin == end) return RangeCost{1, weight_of(*owner)};
    if (!range_fits(need, {owner, begin, end}, room)) return std::nullopt;
    return RangeCost{};
  };
  const auto best = best_ranges(static_cast<int>(ring.size()), need.layer_count(), cost);
  if (!best) return std::nullopt;
  Chosen chosen{room, {}, best->cost.major};
  for (const LayerRange& range : ranges_of(ring, best->ends)) chosen.ring.push_back(range.node);
  return chosen;
}

// More nodes before more KV room, except that a last-resort context must not be the price of it.
std::optional<Chosen> choose(const Ring& ring, const MemoryNeed& need,
                             const std::vector<KvRoom>& rooms) {
  const auto layers = static_cast<size_t>(need.layer_count());
  const size_t surely_out = ring.size() > layers ? ring.size() - layers : 0;
  for (const bool last_resort : {false, true}) {
    std::optional<Chosen> best;
    for (const KvRoom& room : rooms) {
      if (room.last_resort != last_resort) continue;
      std::optional<Chosen> chosen = choose_nodes(ring, need, room);
      if (chosen && (!best || chosen->left_out < best->left_out)) best = std::move(chosen);
      if (best && best->left_out == surely_out) break;
    }
    if (best) return best;
  }
  return std::nullopt;
}

// Orders worth trying when the usual one holds the model nowhere; the ends carry more than layers,
// and layers may differ in size. Of a few nodes every order, so that a fit is found whenever there
// is one; of more every pair of ends, which is exact where layers have one size.
std::vector<Ring> other_orders(const Ring& ring) {
  constexpr size_t kFewNodes = 6;
  std::vector<Ring> orders;
  if (ring.size() <= kFewNodes) {
    std::vector<size_t> index(ring.size());
    std::iota(index.begin(), index.end(), size_t{0});
    while (std::next_permutation(index.begin(), index.end())) {
      Ring& order = orders.emplace_back();
      for (const size_t i : index) order.push_back(ring[i]);
    }
    return orders;
  }
  for (size_t head = 0; head < ring.size(); ++head) {
    for (size_t tail = ring.size(); tail-- > 0;) {
      if (head == tail) continue;
      Ring& order = orders.emplace_back(Ring{ring[head]});
      for (size_t i = 0; i < ring.size(); ++i)
        if (i != head && i != tail) order.push_back(ring[i]);
      order.push_back(ring[tail]);
    }
  }
  return orders;
}

std::optional<Chosen> choose_other_order(const Ring& ring, const MemoryNeed& need,
                                         const std::vector<KvRoom>& rooms) {
  constexpr size_t kMostNodes = 16;
  uint64_t usable = 0;
  for (const TopologyNode* node : ring) usable = saturating_add(usable, node->usable_bytes);
  const KvRoom& least = rooms.back();
  if (ring.size() < 2 || ring.size() > kMostNodes ||
      need.shard_bytes(0, need.layer_count(), least.kv_capacity_tokens) > usable)
    return std::nullopt;
  for (const Ring& order : other_orders(ring))
    if (choose_nodes(order, need, least)) return choose(order, need, rooms);
  return std::nullopt;
}

std::vector<LayerRange> cut(const Chosen& chosen, const MemoryNeed& need) {
  const int layers = need.layer_count();
  const std::vector<int> wanted = proportional_ends(chosen.ring, layers);
  std::vector<LayerRange> ranges = ranges_of(chosen.ring, wanted);
  if (all_fit(need, ranges, chosen.room)) return ranges;
  const auto cost = [&](int node, int begin, int end) -> OptionalCost {
    const auto index = static_cast<size_t>(node);
    if (begin == end || !range_fits(need, {chosen.ring[index], begin, end}, chosen.room))
      return std::nullopt;
    return RangeCost{0, static_cast<uint64_t>(std::abs(end - wanted[index]))};
  };
  const auto best = best_ranges(static_cast<int>(chosen.ring.size()), layers, cost);
  CHECK(best.has_value(), "the chosen nodes hold the model, so some cut must fit");
  return ranges_of(chosen.ring, best->ends);
}

// The least that is missing over all cuts, any node left out.
uint64_t least_missing(const Ring& ring, const MemoryNeed& need, const KvRoom& room) {
  constexpr uint64_t kMost = uint64_t{1} << 54;  // sums over the nodes stay below 2^64
  const auto cost = [&](int node, int begin, int end) -> OptionalCost {
    if (begin == end) return RangeCost{};
    const LayerRange range{ring[static_cast<size_t>(node)], begin, end};
    return RangeCost{std::min(missing_bytes(need, {range}, room), kMost), 0};
  };
  return best_ranges(static_cast<int>(ring.size()), need.layer_count(), cost)->cost.major;
}

class RingMemoryWeightedPartitioningStrategy final : public PartitioningStrategy {
 public:
  std::string name() const override { return "ring-memory-weighted"; }

  Result<Partition> partition(const Topology& topology, const ModelCard& card,
                              const PartitionRequest& request) const override {
    if (topology.nodes.empty()) return unavailable("there is no node to place a model on");
    const MemoryNeed need = TRY(MemoryNeed::make(card, request.weight_format));
    const std::vector<KvRoom> rooms = TRY(kv_room_choices(card, request));
    const Ring ring = ring_order(topology, false);
    std::optional<Chosen> chosen;
    if (!ring.empty()) chosen = choose(ring, need, rooms);
    if (!chosen) chosen = choose_other_order(ring, need, rooms);
    if (!chosen) return when_nothing_fits(topology, card, request, need, rooms.back());
    Partition partition = make_partition(card, cut(*chosen, need), chosen->room, name());
    warn_left_out(topology, need, partition);
    return partition;
  }

 private:
  Result<Partition> when_nothing_fits(const Topology& topology, const ModelCard& card,
                                      const PartitionRequest& request, const MemoryNeed& need,
                                      const KvRoom& room) const {
    Ring ring = ring_order(topology, true);
    uint64_t usable = 0;
    for (const TopologyNode* node : ring) usable = saturating_add(usable, node->usable_bytes);
    if (!request.allow_disk)
      return no_room_error(
          card, need, room, least_missing(ring, need, room),
          fmt::format("{} node(s) have {} usable together", ring.size(), in_gb(usable)));
    const auto most = static_cast<size_t>(need.layer_count());
    while (ring.size() > most) ring.erase(ring.end() - (ring.size() > 2 ? 2 : 1));  // the smallest
    const std::vector<LayerRange> ranges =
        ranges_of(ring, proportional_ends(ring, need.layer_count()));
    Partition partition = make_partition(card, ranges, room, name());
    partition.warnings.push_back(disk_warning(ranges, need, room));
    return partition;
  }

  static void warn_left_out(const Topology& topology, const MemoryNeed& need,
                            Partition& partition) {
    for (const TopologyNode& node : topology.nodes) {
      const auto takes_part = [&](const Stage& stage) { return stage.node == node.id; };
      if (std::any_of(partition.stages.begin(), partition.stages.end(), takes_part)) continue;
      const bool crowd = partition.stages.size() == static_cast<size_t>(need.layer_count());
      partition.warnings.push_back(
          fmt::format("{} holds no layer: {}", display_name(node),
                      crowd ? "there are more nodes than layers"
                            : "its " + in_gb(node.usable_bytes) + " of usable memory do not help"));
    }
  }
};

}  // namespace

std::unique_ptr<PartitioningStrategy> make_ring_memory_weighted_partitioning() {
  return std::make_unique<RingMemoryWeightedPartitioningStrategy>();
}

}  // namespace exo
