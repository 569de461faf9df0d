// What families of Llama's build share: pre-norm blocks of grouped-query attention with rotary
// embedding and a SwiGLU MLP (Touvron et al. 2023). Used by the files of this folder only.
#pragma once

#include "model/architecture.h"
#include "model/config_reader.h"

namespace exo::llama {

enum Slot : int {
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kOutput,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kOutputBias,
  kMlpNorm,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  // of the embedding and head parts
  kEmbedding = 0,
  kFinalNorm = 0,
  kHead = 1,
};

// The sizes, norm, rope and tie of any such family's config.json; `reader` then holds what is left
// to ask.
Config read_config(ConfigReader& reader);
Result<Config> finish_config(ConfigReader& reader, Config config);

std::vector<WeightSpec> declare(const Config& config);
bool may_ignore(const Config& config, std::string_view name);
KvSpec kv(const Config& config, int layer);
Tensor embed(const StepContext& step, std::span<const TokenId> ids);
Tensor layer(const StepContext& step, int layer, const Tensor& x);
Tensor head(const StepContext& step, const Tensor& x);

}  // namespace exo::llama
