// What the partitioning strategies share: checked inputs, the error when a model does not fit, and
// the Partition with its sentence for people. Internal to topology/. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "topology/kv_room.h"
#include "topology/memory_need.h"
#include "topology/partitioning_strategy.h"

namespace exo {

struct LayerRange {
  const TopologyNode* node = nullptr;  // borrowed from the Topology
  int begin = 0;
  int end = 0;  // half-open
};

std::string display_name(const TopologyNode& node);

bool range_fits(const MemoryNeed& need, const LayerRange& range, const KvRoom& room);
bool all_fit(const MemoryNeed& need, const std::vector<LayerRange>& ranges, const KvRoom& room);

// The sum of what each range has too little.
uint64_t missing_bytes(const MemoryNeed& need, const std::vector<LayerRange>& ranges,
                       const KvRoom& room);

Error no_room_error(const ModelCard& card, const MemoryNeed& need, const KvRoom& room,
                    uint64_t missing, const std::string& where);

// The first choice under which these fixed ranges fit; with allow_disk the last choice and a
// warning where none does; else resource_exhausted.
Result<Partition> place_ranges(const ModelCard& card, const MemoryNeed& need,
                               const PartitionRequest& request,
                               const std::vector<LayerRange>& ranges, std::string_view strategy);

Partition make_partition(const ModelCard& card, const std::vector<LayerRange>& ranges,
                         const KvRoom& room, std::string_view strategy);
std::string disk_warning(const std::vector<LayerRange>& ranges, const MemoryNeed& need,
                         const KvRoom& room);

Result<std::unique_ptr<PartitioningStrategy>> make_manual_partitioning(std::string_view ranges);
std::unique_ptr<PartitioningStrategy> make_single_partitioning(const NodeId& self);
std::unique_ptr<PartitioningStrategy> make_ring_memory_weighted_partitioning();

}  // namespace exo
