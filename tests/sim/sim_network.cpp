#include "sim_network.h"

#include <algorithm>

namespace exo::sim {

uint64_t SimNetwork::link(const NodeId& a, const NodeId& b) const {
  const auto found = links_.find(pair(a, b));
  return found == links_.end() ? 0 : found->second;
}

uint64_t SimNetwork::make_link(const NodeId& a, const NodeId& b) {
  last_arrival_us_.erase({a, b});
  last_arrival_us_.erase({b, a});
  return links_[pair(a, b)] = next_link_++;
}

std::vector<NodeId> SimNetwork::linked_with(const NodeId& node) const {
  std::vector<NodeId> nodes;
  for (const auto& [ends, number] : links_) {
    if (ends.first == node) nodes.push_back(ends.second);
    if (ends.second == node) nodes.push_back(ends.first);
  }
  return nodes;
}

int64_t SimNetwork::in_order(const NodeId& from, const NodeId& to, int64_t at_us) {
  int64_t& last = last_arrival_us_[{from, to}];
  last = std::max(last + 1, at_us);
  return last;
}

std::vector<int64_t> SimNetwork::arrivals(const NodeId& from, const NodeId& to, int64_t now_us,
                                          size_t size_bytes) {
  const int64_t travel_us = static_cast<int64_t>(size_bytes / 1000);  // 1 GB/s
  const auto delay_us = [&] {
    return options_.latency_us + travel_us + random_.between(0, options_.jitter_us);
  };
  if (random_.chance(options_.loss)) return {};
  std::vector<int64_t> times;
  const int copies = random_.chance(options_.repeat) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    if (random_.chance(options_.reorder))
      times.push_back(now_us + delay_us() + random_.between(0, 100'000));
    else
      times.push_back(in_order(from, to, now_us + delay_us()));
  }
  return times;
}

}  // namespace exo::sim
