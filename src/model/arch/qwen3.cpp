// Qwen 3: Llama's build with normed queries and keys, and a head dimension of its own.
#include <array>

#include "model/arch/qwen.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Qwen3ForCausalLM", "qwen3"};
constexpr std::array<std::string_view, 1> kGgufNames = {"qwen3"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config =
      llama::read_config(reader, {.head_dim = 128, .kv_heads = 32, .context_length = 32768});
  config.qk_norm = true;
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  qwen::read_windows(reader, json, qwen::Windows::upper_layers, config);
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "qwen3.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  return basic_gguf_form("qwen3", config);
}

}  // namespace

const Architecture& arch_qwen3() {
  static const Architecture architecture{
      "qwen3",      kNames,         kGgufNames,        parse_config,
      parse_gguf,   llama::declare, llama::may_ignore, llama::kv,
      llama::embed, llama::layer,   llama::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
