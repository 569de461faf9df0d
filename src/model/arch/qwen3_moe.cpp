// Qwen3-MoE: Qwen 3 with a mixture of experts.
#include <array>

#include "model/arch/qwen.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Qwen3MoeForCausalLM", "qwen3_moe"};
constexpr std::array<std::string_view, 1> kGgufNames = {"qwen3moe"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(reader, {.kv_heads = 4, .context_length = 32768});
  config.qk_norm = true;
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  qwen::read_windows(reader, json, qwen::Windows::all_layers, config);
  qwen::read_experts(reader, json, {128, 8, 768}, config);
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "qwen3moe.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  config.experts.route.renormalize = true;
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  return basic_gguf_form("qwen3moe", config);
}

}  // namespace

const Architecture& arch_qwen3_moe() {
  static const Architecture architecture{
      "qwen3_moe",  kNames,         kGgufNames,        parse_config,
      parse_gguf,   llama::declare, llama::may_ignore, llama::kv,
      llama::embed, llama::layer,   llama::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
