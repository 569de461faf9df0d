// What the Qwen families share in config.json. Used by their files only.
#pragma once

#include "model/arch/llama.h"

namespace exo::qwen {

// A window that is off unless the config switches it on, for the layers from 'max_window_layers' on
// or for all.
enum class Windows { upper_layers, all_layers };
void read_windows(ConfigReader& reader, const JsonObject& json, Windows windows, Config& config);

struct ExpertDefaults {
  int experts = 0;
  int per_token = 0;
  int width = 0;
};

// Experts of each layer; what the absent keys mean is the family's.
void read_experts(ConfigReader& reader, const JsonObject& json, const ExpertDefaults& defaults,
                  Config& config);

}  // namespace exo::qwen
