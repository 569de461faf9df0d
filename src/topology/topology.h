// Topology: nodes, links and their measured speeds, as one node sees the cluster. Plain values;
// pure functions.
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
};

struct Topology {
  std::vector<TopologyNode> nodes;                      // sorted by id
  std::map<std::pair<NodeId, NodeId>, LinkInfo> links;  // directed, measured
};

}  // namespace exo
