// CoreContext: what every part of the pure core shares while it handles one event: the time that
// was handed in, the options, and the effects collected so far. Owned by NodeCore; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "orchestration/core.h"

namespace exo {

struct CoreContext {
  CoreOptions options;
  int64_t now_us = 0;
  std::vector<CoreEffect> effects;
  std::deque<Message> to_self;  // a node that plays two roles talks to itself the same way
  uint64_t random_state = 0;

  const NodeId& self() const { return options.self.id; }
  void send(const NodeId& to, Message message) {
    if (to == self())
      to_self.push_back(std::move(message));
    else
      effects.push_back(SendMessage{to, std::move(message)});
  }
  // SplitMix64 (Steele, Lea, Flood 2014), seeded by the options: a run is a function of its seed.
  uint64_t random_u64() {
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
};

}  // namespace exo
