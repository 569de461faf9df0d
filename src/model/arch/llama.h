// What families of Llama's build share: pre-norm blocks of grouped-query attention with rotary
// embedding and a SwiGLU MLP (Touvron et al. 2023). Used by the files of this folder only.
#pragma once

#include <functional>

#include "model/architecture.h"
#include "model/config_reader.h"
#include "model/gguf_form.h"

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
  kQueryNorm,
  kKeyNorm,
  // of the embedding and head parts
  kEmbedding = 0,
  kFinalNorm = 0,
  kHead = 1,
};

// What a family's config.json means where it says nothing.
struct Conventions {
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
  int head_dim = 0;  // 0: hidden size / heads
  int kv_heads = 0;  // where the key is absent (null means `heads`); 0: `heads`, too
  int context_length = 2048;
  double norm_eps = 1e-6;
  double rope_theta = 10000;
  bool tied_embeddings = false;
  bool partial_rotary = false;  // 'partial_rotary_factor' may be given
};
// The sizes, norm, rope and tie of any such family's config.json; `reader` then holds what is left
// to ask.
Config read_config(ConfigReader& reader, const Conventions& conventions = {});
// Of all layers, where the config does not say otherwise; null means none.
int read_window(ConfigReader& reader, int when_absent);
// Window of each layer: `layer_types` where the config lists them, else of those that `slides`.
void read_layer_windows(ConfigReader& reader, const JsonObject& json, int window,
                        const std::function<bool(int layer)>& slides, Config& config);
// The same from GGUF metadata below "ARCHITECTURE."; `interleaved`: rotary pairs are neighbours.
Result<Config> read_gguf(ConfigReader& reader, const TensorFiles& tensors, bool interleaved);
Result<Config> finish_config(ConfigReader& reader, Config config);
// The form of GGUF files that call themselves "llama": Llama, Mistral, Mixtral.
Result<GgufForm> to_gguf(const Config& config, const JsonObject& json);

std::vector<WeightSpec> declare(const Config& config);
bool may_ignore(const Config& config, std::string_view name);
KvSpec kv(const Config& config, int layer);
Tensor embed(const StepContext& step, std::span<const TokenId> ids);
Tensor layer(const StepContext& step, int layer, const Tensor& x);
// Rotary embedding by the frequencies that fit the length of each row's sequence.
Tensor rope(const StepContext& step, const Tensor& x);
Tensor head(const StepContext& step, const Tensor& x);

}  // namespace exo::llama
