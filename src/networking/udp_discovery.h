// Discovery by signed UDP datagrams, every second on every IPv4 interface, by broadcast and by
// multicast (which also reaches other nodes on this host, and works with only loopback up). Owns
// one thread, from which all handler calls come; a flood of datagrams costs it a bounded amount of
// work per second. start() fails when the port cannot be bound.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "networking/discovery.h"
#include "networking/identity.h"

namespace exo {

struct UdpDiscoveryOptions {
  std::shared_ptr<const Identity> identity;
  std::string name;        // --node-id, or the host's
  uint16_t node_port = 0;  // of the transport
  uint16_t api_port = 0;
  uint16_t listen_port = 5678;  // as exo has them
  uint16_t broadcast_port = 5678;
  std::vector<std::string> node_id_filter;         // ids or names; empty = all
  std::vector<std::string> interface_type_filter;  // empty = all
  int discovery_timeout_s = 30;  // a node silent for so long is new when heard again
  bool loopback_only = false;    // when the transport listens on loopback only
};

class UdpDiscovery : public Discovery {
 public:
  explicit UdpDiscovery(UdpDiscoveryOptions options);
  ~UdpDiscovery() override;
  Result<void> start(DiscoveryHandler handler) override;
  void stop() override;  // says goodbye first

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo
