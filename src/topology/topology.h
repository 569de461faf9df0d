// Topology: nodes, links and their measured speeds, as one node sees the cluster. Plain values;
// pure functions, thread-safe; nothing here fails.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/ids.h"
#include "core/messages.h"

namespace exo {

struct TopologyNode {
  NodeId id;
  std::string name;
  DeviceCapabilities device;
  uint64_t usable_bytes = 0;  // memory a shard and its KV may take here now
  HeldLayers held = {};       // on its disk, of the model that is being placed
};

struct Topology {
  std::vector<TopologyNode> nodes;                      // sorted by id
  std::map<std::pair<NodeId, NodeId>, LinkInfo> links;  // directed, measured
};

// Memory that weights and KV may take on a device: what is free now, less a margin for the system
// and its user of a tenth of all memory, at most 2 GiB.
uint64_t usable_memory_bytes(const DeviceCapabilities& device);

// What gossip knows, in the order partitioning wants it. Nodes that share one machine (same host
// name, memory and address) share its memory: each gets an equal part. `source` is that of the
// model that is to be placed; "" = files that no node can fetch, so that it does not matter who has
// them.
Topology make_topology(const std::vector<NodeInfo>& nodes, const std::string& source = "");

}  // namespace exo
