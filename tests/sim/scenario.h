// Scenario: a random story of one cluster, told by a seed: nodes of different size, requests, and
// whatever goes wrong. run_scenario tells it and checks it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/model_card.h"

namespace exo::sim {

struct ScenarioResult {
  std::vector<std::string> problems;  // empty: all checks hold
  std::string summary;
  uint64_t trace_hash = 0;
  int finished = 0, failed = 0, cancelled = 0, orphaned = 0;
};

ScenarioResult run_scenario(uint64_t seed, bool verbose);

inline constexpr int kImageTokens = 12;
inline constexpr TokenId kImageToken = 63;

// A model that takes pictures of one pixel.
ModelCard make_card(const std::string& name, int layers, uint64_t layer_bytes);
std::shared_ptr<const Image> make_picture(uint64_t color);

}  // namespace exo::sim
