#include "topology/ring_orders.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMostSwapped = 24;  // nodes; a round of swaps is their number cubed
constexpr int kMostRounds = 32;

using Rank = std::function<uint64_t(const Ring&)>;

// The middle of what a node holds; nodes with nothing come last.
double middle_held(const TopologyNode& node) {
  double sum = 0, count = 0;
  for (const LayerSpan& span : node.held.spans) {
    const double layers = span.end - span.begin;
    sum += layers * (span.begin + span.end) / 2;
    count += layers;
  }
  return count > 0 ? sum / count : 1e9;
}

Ring as_held(Ring ring) {
  std::stable_sort(ring.begin(), ring.end(), [](const TopologyNode* a, const TopologyNode* b) {
    return middle_held(*a) < middle_held(*b);
  });
  return ring;
}

// Swaps two nodes as long as that keeps more: each round the best swap.
RankedRing improved(Ring ring, const Rank& kept_by) {
  RankedRing best{ring, kept_by(ring)};
  if (ring.size() > kMostSwapped) return best;
  for (int round = 0; round < kMostRounds; ++round) {
    const Ring from = best.ring;
    for (size_t i = 0; i < from.size(); ++i) {
      for (size_t j = i + 1; j < from.size(); ++j) {
        Ring other = from;
        std::swap(other[i], other[j]);
        if (const uint64_t kept = kept_by(other); kept > best.kept_bytes)
          best = {std::move(other), kept};
      }
    }
    if (best.ring == from) break;
  }
  return best;
}

}  // namespace

std::vector<LayerRange> ranges_of(const Ring& ring, const std::vector<int>& ends) {
  std::vector<LayerRange> ranges;
  int begin = 0;
  for (size_t i = 0; i < ring.size(); ++i) {
    if (ends[i] > begin) ranges.push_back({ring[i], begin, ends[i]});
    begin = ends[i];
  }
  return ranges;
}

std::vector<Ring> every_other_order(const Ring& ring) {
  std::vector<Ring> orders;
  std::vector<size_t> index(ring.size());
  std::iota(index.begin(), index.end(), size_t{0});
  while (std::next_permutation(index.begin(), index.end())) {
    Ring& order = orders.emplace_back();
    for (const size_t i : index) order.push_back(ring[i]);
  }
  return orders;
}

KeptBytes::KeptBytes(const Ring& ring, const ModelCard& card) : card_(card) {
  for (const TopologyNode* node : ring) {
    if (node->held.empty()) continue;
    std::vector<uint64_t>& before = held_before_[node];
    before.push_back(0);
    for (size_t layer = 0; layer < card.layer_bytes.size(); ++layer)
      before.push_back(before.back() + (node->held.contains(static_cast<int>(layer))
                                            ? card.layer_bytes[layer]
                                            : 0));
  }
}

uint64_t KeptBytes::of(const LayerRange& range) const {
  const auto found = held_before_.find(range.node);
  if (found == held_before_.end()) return 0;
  const std::vector<uint64_t>& before = found->second;
  const HeldLayers& held = range.node->held;
  const bool embeds = range.begin == 0 && held.embedding;
  const bool ends = range.end == card_.layer_count && held.head;
  uint64_t bytes =
      before[static_cast<size_t>(range.end)] - before[static_cast<size_t>(range.begin)];
  if (embeds) bytes += card_.embedding_bytes;
  if (ends) bytes += card_.head_bytes;
  return embeds && ends ? bytes - card_.shared_bytes() : bytes;
}

uint64_t KeptBytes::of(const std::vector<LayerRange>& ranges) const {
  uint64_t sum = 0;
  for (const LayerRange& range : ranges) sum += of(range);
  return sum;
}

std::vector<RankedRing> orders_that_keep(const Ring& usual, const KeptBytes& kept,
                                         const std::function<std::vector<int>(const Ring&)>& ends) {
  const Rank kept_by = [&](const Ring& ring) { return kept.of(ranges_of(ring, ends(ring))); };
  std::vector<RankedRing> orders{{usual, kept_by(usual)}};
  if (usual.size() <= kFewNodes) {
    for (Ring& ring : every_other_order(usual)) {
      const uint64_t bytes = kept_by(ring);
      orders.push_back({std::move(ring), bytes});
    }
  } else {
    for (const Ring& start : {usual, as_held(usual)}) {
      orders.push_back({start, kept_by(start)});
      orders.push_back(improved(start, kept_by));
    }
  }
  std::stable_sort(orders.begin(), orders.end(), [](const RankedRing& a, const RankedRing& b) {
    return a.kept_bytes > b.kept_bytes;
  });
  return orders;
}

}  // namespace exo
