// Puts a node together from its flags: identity, links, discovery, models, engine. The composition
// root; nothing else knows all parts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "base/result.h"
#include "orchestration/local_node.h"

namespace exo {

// A node that runs; stops (and says goodbye) when destroyed.
class NodeSetup {
 public:
  // `api_port` and `api_urls` are what it tells others; 0 for a node without an API.
  static Result<std::unique_ptr<NodeSetup>> start(const NodeFlags& flags, uint16_t api_port,
                                                  std::vector<std::string> api_urls);
  ~NodeSetup();

  LocalNode& node() { return *node_; }

 private:
  NodeSetup() = default;
  struct Parts;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<LocalNode> node_;
};

// For `exo run` where no node runs: in this process, without an API. The pointer keeps everything
// alive.
Result<std::shared_ptr<Node>> start_temporary_node(const NodeFlags& flags);

}  // namespace exo
