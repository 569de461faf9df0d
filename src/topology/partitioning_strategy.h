// PartitioningStrategy: how the layers of a model are divided over the nodes of a Topology. Pure:
// the same input gives the same answer on every node. A Partition covers every layer exactly once,
// in ring order, no stage empty, nobody above its memory when a fit exists; when none does:
// resource_exhausted, naming the missing bytes (or, with allow_disk, a partition that maps what
// does not fit, with a warning).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/model_card.h"
#include "core/placement.h"
#include "topology/topology.h"

namespace exo {

struct PartitionRequest {
  int context_length =
      0;  // KV room to reserve per sequence, tokens; 0 = the model's, capped as docs say
  int kv_capacity_tokens = 0;  // for all sequences together; 0 = chosen from free memory
  bool allow_disk = false;
  WeightFormat weight_format = WeightFormat::as_stored;
};

struct Partition {
  std::vector<Stage> stages;
  int context_length = 0;
  int kv_capacity_tokens = 0;
  std::vector<std::string> warnings;
  std::string explanation;  // one line for people: who got what and why
};

class PartitioningStrategy {
 public:
  virtual ~PartitioningStrategy() = default;
  virtual std::string name() const = 0;
  virtual Result<Partition> partition(const Topology& topology, const ModelCard& card,
                                      const PartitionRequest& request) const = 0;
};

// "ring-memory-weighted", "single", "manual:0-5,6-11" (inclusive layer ranges, in order of node
// name or id@range)
Result<std::unique_ptr<PartitioningStrategy>> make_partitioning_strategy(std::string_view spec,
                                                                         const NodeId& self);

}  // namespace exo
