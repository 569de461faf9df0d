#include "topology/topology.h"

#include <algorithm>
#include <string_view>

namespace exo {
namespace {

constexpr uint64_t kMaxMarginBytes = uint64_t{2} << 30;

bool is_loopback(std::string_view host) { return host.starts_with("127.") || host == "::1"; }

bool has_outer_address(const NodeInfo& node) {
  return std::any_of(node.addresses.begin(), node.addresses.end(),
                     [](const PeerAddress& address) { return !is_loopback(address.host); });
}

// Host names alone do not tell: half of all Raspberry Pis are called "raspberrypi".
bool same_machine(const NodeInfo& a, const NodeInfo& b) {
  if (a.device.host_name.empty() || a.device.host_name != b.device.host_name) return false;
  if (a.device.memory_total_bytes != b.device.memory_total_bytes) return false;
  if (!has_outer_address(a) || !has_outer_address(b)) return true;  // they meet on loopback only
  for (const PeerAddress& mine : a.addresses)
    for (const PeerAddress& other : b.addresses)
      if (mine.host == other.host && !is_loopback(mine.host)) return true;
  return false;
}

HeldLayers held_of(const NodeInfo& node, const std::string& source) {
  for (const HeldModel& model : node.held)
    if (!source.empty() && model.source == source) return model.layers;
  return {};
}

}  // namespace

uint64_t usable_memory_bytes(const DeviceCapabilities& device) {
  const uint64_t free_bytes = device.memory_total_bytes == 0
                                  ? device.memory_free_bytes
                                  : std::min(device.memory_free_bytes, device.memory_total_bytes);
  const uint64_t margin = std::min(device.memory_total_bytes / 10, kMaxMarginBytes);
  return free_bytes > margin ? free_bytes - margin : 0;
}

Topology make_topology(const std::vector<NodeInfo>& nodes, const std::string& source) {
  Topology topology;
  for (const NodeInfo& node : nodes) {
    uint64_t sharing = 0;  // nodes on this machine, this one included
    for (const NodeInfo& other : nodes)
      if (&other == &node || same_machine(node, other)) ++sharing;
    topology.nodes.push_back({node.id, node.name, node.device,
                              usable_memory_bytes(node.device) / sharing, held_of(node, source)});
    for (const LinkInfo& link : node.links) topology.links[{node.id, link.to}] = link;
  }
  std::sort(topology.nodes.begin(), topology.nodes.end(),
            [](const TopologyNode& a, const TopologyNode& b) { return a.id < b.id; });
  return topology;
}

}  // namespace exo
