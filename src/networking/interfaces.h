// The network interfaces of this machine, as discovery needs them: IPv4 addresses that are up, and
// what kind of link each is. Asks the system anew at every call; stateless, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "core/messages.h"

namespace exo {

struct NetworkInterface {
  std::string name;       // "eth0"
  std::string type;       // "loopback", "thunderbolt", "ethernet", "wifi", "other"
  std::string address;    // IPv4, dotted
  std::string broadcast;  // of its network; empty when it has none
};

Result<std::vector<NetworkInterface>> list_interfaces();
std::string interface_type_of(const std::string& name);

// Where a node listening on `host`:`port` can be reached, best interface first, for its NodeInfo.
std::vector<PeerAddress> reachable_addresses(const std::string& host, uint16_t port);

}  // namespace exo
