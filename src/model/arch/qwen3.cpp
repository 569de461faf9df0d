// Qwen 3: Llama's build with normed queries and keys, and a head dimension of its own.
#include <array>

#include "model/arch/llama.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Qwen3ForCausalLM", "qwen3"};
constexpr std::array<std::string_view, 1> kGgufNames = {"qwen3"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(reader, {.head_dim = 128, .context_length = 32768});
  config.qk_norm = true;
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  const bool sliding = reader.flag("use_sliding_window", false);
  const int window = reader.size("sliding_window", 4096);
  const int full_layers = static_cast<int>(reader.number("max_window_layers", 28));
  const bool none = json.contains("sliding_window") && json.at("sliding_window").is_null();
  llama::read_layer_windows(
      reader, json, sliding && !none ? window : 0, [=](int layer) { return layer >= full_layers; },
      config);
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
