// RingMemoryWeightedPartitioningStrategy: every node takes part, with layers in proportion to its
// usable memory.
//
// Ring order: usable memory descending, then id; but the second largest node comes last, because
// both ends carry more than layers (the head embeds and schedules, the tail holds the output head
// and samples); other ends are tried where that order holds the model nowhere, and another order is
// taken where nodes then keep more of what they have on their disks. Shares are whole
// layers by largest remainder, at least one each. Where a share and its KV do not fit, boundaries
// move as little as possible until everything fits. A node is left out only when there are more
// nodes than layers or when no cut with it fits, the smallest first.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "topology/layer_ranges.h"
#include "topology/partition_parts.h"
#include "topology/ring_orders.h"

namespace exo {
namespace {

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
  if (ring.size() <= kFewNodes) return every_other_order(ring);
  std::vector<Ring> orders;
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

struct Cut {
  std::vector<LayerRange> ranges;
  uint64_t moved = 0;  // layers by which boundaries lie off their proportional places
};

// Nothing when no cut of this order fits with every node in it.
std::optional<Cut> cut(const Ring& ring, const KvRoom& room, const MemoryNeed& need) {
  const int layers = need.layer_count();
  const std::vector<int> wanted = proportional_ends(ring, layers);
  std::vector<LayerRange> ranges = ranges_of(ring, wanted);
  if (all_fit(need, ranges, room)) return Cut{std::move(ranges), 0};
  const auto cost = [&](int node, int begin, int end) -> OptionalCost {
    const auto index = static_cast<size_t>(node);
    if (begin == end || !range_fits(need, {ring[index], begin, end}, room)) return std::nullopt;
    return RangeCost{0, static_cast<uint64_t>(std::abs(end - wanted[index]))};
  };
  const auto best = best_ranges(static_cast<int>(ring.size()), layers, cost);
  if (!best) return std::nullopt;
  return Cut{ranges_of(ring, best->ends), best->cost.minor};
}

// Free memory changes from minute to minute, and the usual order with it: so among the orders that
// keep as well to the proportions, the one under which most bytes stay on the disks where they are.
std::vector<LayerRange> keeping_cut(const Chosen& chosen, const MemoryNeed& need,
                                    const ModelCard& card) {
  constexpr int kMostSearched = 32;  // cuts that are no mere proportions
  auto best = cut(chosen.ring, chosen.room, need);
  CHECK(best.has_value(), "the chosen nodes hold the model, so some cut must fit");
  const KeptBytes kept(chosen.ring, card);
  if (kept.none()) return best->ranges;
  const uint64_t most_moved = best->moved;
  uint64_t most_kept = kept.of(best->ranges);
  int searched = 0;
  const auto ends = [&](const Ring& ring) { return proportional_ends(ring, card.layer_count); };
  for (const RankedRing& order : orders_that_keep(chosen.ring, kept, ends)) {
    if (most_moved == 0 && order.kept_bytes <= most_kept) break;
    const bool plain = all_fit(need, ranges_of(order.ring, ends(order.ring)), chosen.room);
    if (!plain && (most_moved == 0 || ++searched > kMostSearched)) continue;
    auto other = cut(order.ring, chosen.room, need);
    if (!other || other->moved > most_moved || kept.of(other->ranges) <= most_kept) continue;
    most_kept = kept.of(other->ranges);
    best = std::move(other);
  }
  return best->ranges;
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
    Partition partition =
        make_partition(card, keeping_cut(*chosen, need, card), chosen->room, name());
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
