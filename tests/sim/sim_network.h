// SimNetwork: which node can talk to which, and when a message arrives. In order and without loss
// while a link is up, as the real transport promises; a broken link loses what was on its way. The
// hostile mode also drops, repeats and reorders single messages, which is worse than any real link.
// One thread; all times virtual.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/ids.h"
#include "random.h"

namespace exo::sim {

struct NetworkOptions {
  int64_t latency_us = 300;
  int64_t jitter_us = 200;
  double loss = 0, repeat = 0, reorder = 0;  // per message; all 0 = links keep their promise
};

class SimNetwork {
 public:
  SimNetwork(const NetworkOptions& options, uint64_t seed) : options_(options), random_(seed) {}

  static std::pair<NodeId, NodeId> pair(const NodeId& a, const NodeId& b) {
    return a < b ? std::pair(a, b) : std::pair(b, a);
  }
  bool blocked(const NodeId& a, const NodeId& b) const { return blocked_.contains(pair(a, b)); }
  void block(const NodeId& a, const NodeId& b) { blocked_.insert(pair(a, b)); }
  void unblock(const NodeId& a, const NodeId& b) { blocked_.erase(pair(a, b)); }

  // 0: no link. Each new link between two nodes has a new number; messages of older ones are lost.
  uint64_t link(const NodeId& a, const NodeId& b) const;
  uint64_t make_link(const NodeId& a, const NodeId& b);
  void cut_link(const NodeId& a, const NodeId& b) { links_.erase(pair(a, b)); }
  std::vector<NodeId> linked_with(const NodeId& node) const;

  // When a message sent now arrives: none (lost), once, or several times.
  std::vector<int64_t> arrivals(const NodeId& from, const NodeId& to, int64_t now_us,
                                size_t size_bytes);
  int64_t in_order(const NodeId& from, const NodeId& to, int64_t at_us);
  void calm() { options_.loss = options_.repeat = options_.reorder = 0; }

 private:
  NetworkOptions options_;
  Random random_;
  std::set<std::pair<NodeId, NodeId>> blocked_;
  std::map<std::pair<NodeId, NodeId>, uint64_t> links_;
  std::map<std::pair<NodeId, NodeId>, int64_t> last_arrival_us_;  // directed
  uint64_t next_link_ = 1;
};

}  // namespace exo::sim
