// What Qwen2-MoE and Qwen3-MoE share in config.json and GGUF metadata. Used by their files only.
#pragma once

#include "model/arch/llama.h"

namespace exo::qwen_moe {

struct Defaults {
  int experts = 0;
  int per_token = 0;
  int width = 0;
};

// Experts of each layer, and windows; what the absent keys mean is the family's.
void read_experts(ConfigReader& reader, const JsonObject& json, const Defaults& defaults,
                  Config& config);

}  // namespace exo::qwen_moe
