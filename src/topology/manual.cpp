// ManualPartitioningStrategy: "manual:0-5,6-11" gives inclusive layer ranges to the nodes in order
// of their names (of equals by id); "manual:desk@0-5,pi@6-11" names them, by name or id.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "topology/partition_parts.h"

namespace exo {
namespace {

constexpr size_t kMaxRanges = 256;

struct ManualRange {
  std::string node;  // name or id; empty = next in order of name
  int begin = 0;
  int end = 0;  // half-open
};

std::optional<int> parse_layer(std::string_view text) {
  int value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  if (value < 0 || value > 1'000'000) return std::nullopt;
  return value;
}

Result<ManualRange> parse_range(std::string_view text) {
  const Error wrong = invalid_argument(fmt::format(
      "\"{}\" is not a layer range; write FIRST-LAST or NODE@FIRST-LAST, both inclusive", text));
  ManualRange range;
  if (const size_t at = text.rfind('@'); at != std::string_view::npos) {
    range.node = std::string(text.substr(0, at));
    text.remove_prefix(at + 1);
    if (range.node.empty()) return wrong;
  }
  const size_t dash = text.find('-');
  const auto first = parse_layer(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_layer(text.substr(dash + 1));
  if (!first || !last || *last < *first) return wrong;
  range.begin = *first;
  range.end = *last + 1;
  return range;
}

class ManualPartitioningStrategy final : public PartitioningStrategy {
 public:
  ManualPartitioningStrategy(std::string name, std::vector<ManualRange> ranges)
      : name_(std::move(name)), ranges_(std::move(ranges)) {}
  std::string name() const override { return name_; }

  Result<Partition> partition(const Topology& topology, const ModelCard& card,
                              const PartitionRequest& request) const override {
    if (topology.nodes.empty()) return unavailable("there is no node to place a model on");
    const MemoryNeed need = TRY(MemoryNeed::make(card, request.weight_format));
    if (ranges_.back().end != card.layer_count)
      return invalid_argument(fmt::format("{}: {} has {} layers (0-{}), the ranges cover 0-{}",
                                          name_, card.id, card.layer_count, card.layer_count - 1,
                                          ranges_.back().end - 1));
    const std::vector<LayerRange> placed = TRY(assign(topology));
    return place_ranges(card, need, request, placed, name_);
  }

 private:
  Result<std::vector<LayerRange>> assign(const Topology& topology) const {
    std::vector<const TopologyNode*> free;
    for (const TopologyNode& node : topology.nodes) free.push_back(&node);
    std::sort(free.begin(), free.end(), [](const TopologyNode* a, const TopologyNode* b) {
      return a->name != b->name ? a->name < b->name : a->id < b->id;
    });
    std::vector<LayerRange> placed;
    for (const ManualRange& range : ranges_) {
      const auto found = std::find_if(free.begin(), free.end(), [&](const TopologyNode* node) {
        return range.node.empty() || node->name == range.node || node->id.value == range.node;
      });
      if (found == free.end() && !range.node.empty())
        return unavailable(fmt::format("{}: no node {} here for another range", name_, range.node));
      if (found == free.end())
        return unavailable(fmt::format("{}: {} ranges for {} node(s); start more or name fewer",
                                       name_, ranges_.size(), topology.nodes.size()));
      placed.push_back({*found, range.begin, range.end});
      free.erase(found);
    }
    return placed;
  }

  std::string name_;
  std::vector<ManualRange> ranges_;
};

}  // namespace

Result<std::unique_ptr<PartitioningStrategy>> make_manual_partitioning(std::string_view text) {
  const std::string name = "manual:" + std::string(text);
  std::vector<ManualRange> ranges;
  size_t named = 0;
  while (true) {
    const size_t comma = text.find(',');
    ranges.push_back(TRY(parse_range(text.substr(0, comma))));
    if (!ranges.back().node.empty()) ++named;
    const int expected = ranges.size() == 1 ? 0 : ranges[ranges.size() - 2].end;
    if (ranges.back().begin != expected)
      return invalid_argument(fmt::format("{}: range {} begins at layer {}, expected {}", name,
                                          ranges.size(), ranges.back().begin, expected));
    if (ranges.size() > kMaxRanges)
      return invalid_argument(fmt::format("at most {} layer ranges", kMaxRanges));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  if (named != 0 && named != ranges.size())
    return invalid_argument(name + ": name a node for every range or for none");
  return std::unique_ptr<PartitioningStrategy>(
      std::make_unique<ManualPartitioningStrategy>(name, std::move(ranges)));
}

}  // namespace exo
