// Qwen2-MoE: Qwen 2 with a mixture of experts and a shared expert behind a gate of its own.
#include <algorithm>
#include <array>

#include "model/arch/qwen.h"

namespace exo {
namespace qwen {

void read_experts(ConfigReader& reader, const JsonObject& json, const ExpertDefaults& defaults,
                  Config& config) {
  constexpr std::array<std::string_view, 3> kTrainingOnly = {
      "output_router_logits", "router_aux_loss_coef", "mlp_only_layers"};
  reader.known(kTrainingOnly);
  ExpertsConfig& experts = config.experts;
  experts.count = reader.size("num_experts", defaults.experts);
  experts.route.per_row = reader.size("num_experts_per_tok", defaults.per_token);
  experts.width = reader.size("moe_intermediate_size", defaults.width);
  experts.route.renormalize = reader.flag("norm_topk_prob", false);
  const int step = reader.size("decoder_sparse_step", 1);
  const auto plain = get_array(json, "mlp_only_layers");
  if (!plain.ok()) return reader.fail(plain.error());
  for (int layer = 0; layer < std::min(config.layer_count, 1 << 12); ++layer) {
    const bool listed =
        *plain != nullptr && std::any_of((*plain)->begin(), (*plain)->end(),
                                         [&](const Json& one) { return one == layer; });
    experts.plain.push_back(listed || (layer + 1) % step != 0);
  }
}

}  // namespace qwen

namespace {

constexpr std::array<std::string_view, 2> kNames = {"Qwen2MoeForCausalLM", "qwen2_moe"};
constexpr std::array<std::string_view, 1> kGgufNames = {"qwen2moe"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(reader, {.kv_heads = 16, .context_length = 32768});
  config.qkv_bias = reader.flag("qkv_bias", true);
  // Versions of Hugging Face's code disagree which layers those would be.
  if (reader.flag("use_sliding_window", false) && !json.contains("layer_types"))
    reader.fail(unsupported("'use_sliding_window' without 'layer_types' is not known here"));
  qwen::read_windows(reader, json, qwen::Windows::upper_layers, config);
  qwen::read_experts(reader, json, {60, 4, 1408}, config);
  config.experts.shared_gated = true;
  config.experts.shared_width = reader.size("shared_expert_intermediate_size", 5632);
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "qwen2moe.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  return basic_gguf_form("qwen2moe", config);
}

}  // namespace

const Architecture& arch_qwen2_moe() {
  static const Architecture architecture{
      "qwen2_moe",  kNames,         kGgufNames,        parse_config,
      parse_gguf,   llama::declare, llama::may_ignore, llama::kv,
      llama::embed, llama::layer,   llama::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
