// What Gemma 2 and 3 share: norms before and after both halves of a layer, GeGLU, scaled
// embeddings, layers that alternate between a window and everything. Norms are stored less one in
// Hugging Face's checkpoints. Used by their files only.
#pragma once

#include "model/arch/llama.h"

namespace exo::gemma {

// In Config::extra.
struct Extra {
  float query_scalar = 0;  // scores are divided by its root
  float attention_cap = 0;
  float logit_cap = 0;
  RopeParams local_rope;  // of layers with a window; empty: as the others
};

const Extra& extra(const Config& config);
// Refused where the files' readers would scale the scores by another number.
Result<GgufForm> to_gguf(std::string_view architecture, const Config& config);
std::vector<WeightSpec> declare(const Config& config);
bool may_ignore(const Config& config, std::string_view name);
Tensor embed(const StepContext& step, std::span<const TokenId> ids);
Tensor layer(const StepContext& step, int layer, const Tensor& x);
Tensor head(const StepContext& step, const Tensor& x);

}  // namespace exo::gemma
