// Discovery from a JSON file of peers, as exo has it:
//   {"peers": {"desk": {"address": "10.0.0.2", "port": 52416}, ...}}
// "node_id" may be added; a key that is a node id counts as one. The file is looked at every
// second; an edit that does not parse keeps the last good set and is reported through on_problem
// once. Owns one thread, from which all handler calls come. start() fails when the file cannot be
// read or parsed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "networking/discovery.h"

namespace exo {

struct ManualDiscoveryOptions {
  std::filesystem::path path;  // --discovery-config-path
  NodeId self;
  std::string self_name;
  uint16_t node_port = 0;  // with an address of this machine: the entry is this node
  int check_interval_ms = 1000;
};

// The parser alone. Peers in the file's order, this node's own entry included.
Result<std::vector<PeerSighting>> parse_peers(std::string_view text);

class ManualDiscovery : public Discovery {
 public:
  explicit ManualDiscovery(ManualDiscoveryOptions options);
  ~ManualDiscovery() override;
  Result<void> start(DiscoveryHandler handler) override;
  void stop() override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo
