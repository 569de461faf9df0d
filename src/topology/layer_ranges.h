// best_ranges(): the cheapest way to cut `layers` layers into `nodes` consecutive ranges, exactly,
// by dynamic programming over boundaries: O(nodes * layers^2). Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

namespace exo {

struct RangeCost {  // compared first by `major`, then by `minor`; summed over the nodes
  uint64_t major = 0;
  uint64_t minor = 0;
  auto operator<=>(const RangeCost&) const = default;
};

struct BestRanges {
  std::vector<int> ends;  // of each node's range; it begins where the one before ends
  RangeCost cost;
};

// `cost(node, begin, end)` returns std::optional<RangeCost>, nothing when the range is impossible;
// it is asked for begin == end too, which leaves the node out. Of equal cuts the one whose last
// ranges are shortest wins, so that every node finds the same.
template <class Cost>
std::optional<BestRanges> best_ranges(int nodes, int layers, const Cost& cost) {
  const auto width = static_cast<size_t>(layers) + 1;
  std::vector<std::optional<RangeCost>> best(width);  // best[e]: layers before e placed
  std::vector<std::vector<int>> came_from(static_cast<size_t>(nodes), std::vector<int>(width, 0));
  best[0] = RangeCost{};
  for (int node = 0; node < nodes; ++node) {
    std::vector<std::optional<RangeCost>> next(width);
    for (int end = 0; end <= layers; ++end) {
      for (int begin = end; begin >= 0; --begin) {
        const auto& before = best[static_cast<size_t>(begin)];
        if (!before) continue;
        const std::optional<RangeCost> added = cost(node, begin, end);
        if (!added) continue;
        const RangeCost sum{before->major + added->major, before->minor + added->minor};
        auto& slot = next[static_cast<size_t>(end)];
        if (slot && !(sum < *slot)) continue;
        slot = sum;
        came_from[static_cast<size_t>(node)][static_cast<size_t>(end)] = begin;
      }
    }
    best = std::move(next);
  }
  if (!best[static_cast<size_t>(layers)]) return std::nullopt;
  BestRanges found{std::vector<int>(static_cast<size_t>(nodes)),
                   *best[static_cast<size_t>(layers)]};
  int end = layers;
  for (int node = nodes - 1; node >= 0; --node) {
    found.ends[static_cast<size_t>(node)] = end;
    end = came_from[static_cast<size_t>(node)][static_cast<size_t>(end)];
  }
  return found;
}

}  // namespace exo
