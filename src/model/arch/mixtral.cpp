// Mixtral: Mistral with a mixture of experts in every layer (Jiang et al. 2024). (GGUF files of
// Mixtral models call themselves "llama".)
#include <array>

#include "model/arch/llama.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"MixtralForCausalLM", "mixtral"};
constexpr std::array<std::string_view, 3> kTrainingOnly = {
    "output_router_logits", "router_aux_loss_coef", "router_jitter_noise"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(
      reader, {.kv_heads = 8, .context_length = 4096 * 32, .norm_eps = 1e-5, .rope_theta = 1e6});
  reader.known(kTrainingOnly);
  config.window = llama::read_window(reader, 0);
  config.experts.count = reader.size("num_local_experts", 8);
  config.experts.route.per_row = reader.size("num_experts_per_tok", 2);
  config.experts.width = config.intermediate_size;
  config.experts.route.renormalize = true;
  config.experts.names = ExpertsConfig::Names::mixtral;
  return llama::finish_config(reader, std::move(config));
}

}  // namespace

const Architecture& arch_mixtral() {
  static const Architecture architecture{
      "mixtral",         kNames,    {},           parse_config, nullptr,     llama::declare,
      llama::may_ignore, llama::kv, llama::embed, llama::layer, llama::head, nullptr,
      llama::to_gguf};
  return architecture;
}

}  // namespace exo
