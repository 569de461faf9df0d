#include "topology/partition_parts.h"

#include <fmt/core.h>

namespace exo {

std::string display_name(const TopologyNode& node) {
  return node.name.empty() ? node.id.value.substr(0, 8) : node.name;
}

bool range_fits(const MemoryNeed& need, const LayerRange& range, const KvRoom& room) {
  return need.shard_bytes(range.begin, range.end, room.kv_capacity_tokens) <=
         room.budget_bytes(range.node->usable_bytes);
}

bool all_fit(const MemoryNeed& need, const std::vector<LayerRange>& ranges, const KvRoom& room) {
  for (const LayerRange& range : ranges)
    if (!range_fits(need, range, room)) return false;
  return true;
}

uint64_t missing_bytes(const MemoryNeed& need, const std::vector<LayerRange>& ranges,
                       const KvRoom& room) {
  uint64_t sum = 0;
  for (const LayerRange& range : ranges) {
    const uint64_t bytes = need.shard_bytes(range.begin, range.end, room.kv_capacity_tokens);
    const uint64_t budget = room.budget_bytes(range.node->usable_bytes);
    if (bytes > budget) sum = saturating_add(sum, bytes - budget);
  }
  return sum;
}

Error no_room_error(const ModelCard& card, const MemoryNeed& need, const KvRoom& room,
                    uint64_t missing, const std::string& where) {
  const int layers = need.layer_count();
  return resource_exhausted(fmt::format(
      "not enough memory for {}: {} missing. Its weights take {}, the KV cache for {} tokens {}; "
      "{}. Add a device, use a quantised or smaller model, ask for a shorter context, or allow "
      "disk (--allow-disk, slow)",
      card.id, in_gb(missing), in_gb(need.weight_bytes(0, layers)), room.kv_capacity_tokens,
      in_gb(need.kv_bytes(layers, room.kv_capacity_tokens)), where));
}

std::string disk_warning(const std::vector<LayerRange>& ranges, const MemoryNeed& need,
                         const KvRoom& room) {
  std::string names;
  for (const LayerRange& range : ranges) {
    if (range_fits(need, range, room)) continue;
    names += (names.empty() ? "" : ", ") + display_name(*range.node);
  }
  return fmt::format("{} more than the memory of {}: the rest is read from disk for every token",
                     in_gb(missing_bytes(need, ranges, room)), names);
}

Partition make_partition(const ModelCard& card, const std::vector<LayerRange>& ranges,
                         const KvRoom& room, std::string_view strategy) {
  Partition partition;
  partition.context_length = room.context_length;
  partition.kv_capacity_tokens = room.kv_capacity_tokens;
  std::string who;
  for (const LayerRange& range : ranges) {
    Stage stage;
    stage.node = range.node->id;
    stage.shard.model_id = card.id;
    stage.shard.layer_begin = range.begin;
    stage.shard.layer_end = range.end;
    stage.shard.layer_count = card.layer_count;
    partition.stages.push_back(std::move(stage));
    who += fmt::format("{}{} ({} usable) layers {}-{}", who.empty() ? "" : ", ",
                       display_name(*range.node), in_gb(range.node->usable_bytes), range.begin,
                       range.end - 1);
  }
  partition.explanation =
      fmt::format("{} by {}: {}; context {} tokens, KV cache {} tokens", card.id, strategy, who,
                  room.context_length, room.kv_capacity_tokens);
  return partition;
}

Result<Partition> place_ranges(const ModelCard& card, const MemoryNeed& need,
                               const PartitionRequest& request,
                               const std::vector<LayerRange>& ranges, std::string_view strategy) {
  const std::vector<KvRoom> choices = TRY(kv_room_choices(card, request));
  for (const KvRoom& room : choices)
    if (all_fit(need, ranges, room)) return make_partition(card, ranges, room, strategy);
  const KvRoom& least = choices.back();
  if (!request.allow_disk) {
    std::string where;
    for (const LayerRange& range : ranges)
      where +=
          fmt::format("{}{} has {} for the {} of layers {}-{}", where.empty() ? "" : ", ",
                      display_name(*range.node), in_gb(range.node->usable_bytes),
                      in_gb(need.shard_bytes(range.begin, range.end, least.kv_capacity_tokens)),
                      range.begin, range.end - 1);
    return no_room_error(card, need, least, missing_bytes(need, ranges, least), where);
  }
  Partition partition = make_partition(card, ranges, least, strategy);
  partition.warnings.push_back(disk_warning(ranges, need, least));
  return partition;
}

Result<std::unique_ptr<PartitioningStrategy>> make_partitioning_strategy(std::string_view spec,
                                                                         const NodeId& self) {
  if (spec == "ring-memory-weighted") return make_ring_memory_weighted_partitioning();
  if (spec == "single") return make_single_partitioning(self);
  constexpr std::string_view kManual = "manual:";
  if (spec.starts_with(kManual)) return make_manual_partitioning(spec.substr(kManual.size()));
  return invalid_argument(fmt::format(
      "unknown partitioning \"{}\"; use ring-memory-weighted, single, or manual:0-5,6-11", spec));
}

}  // namespace exo
