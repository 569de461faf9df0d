// Qwen 2 and 2.5: Llama's build with biases on q, k and v, and a sliding window that is off unless
// the config switches it on for the upper layers.
#include <array>

#include "model/arch/qwen.h"

namespace exo {
namespace qwen {

void read_windows(ConfigReader& reader, const JsonObject& json, Windows windows, Config& config) {
  const int given = llama::read_window(reader, 4096);
  const int window = reader.flag("use_sliding_window", false) ? given : 0;
  const double full_layers = reader.number("max_window_layers", 28);
  llama::read_layer_windows(
      reader, json, window,
      [=](int layer) { return windows == Windows::all_layers || layer >= full_layers; }, config);
}

}  // namespace qwen

namespace {

constexpr std::array<std::string_view, 2> kNames = {"Qwen2ForCausalLM", "qwen2"};
constexpr std::array<std::string_view, 1> kGgufNames = {"qwen2"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(reader, {.kv_heads = 32, .context_length = 32768});
  config.qkv_bias = true;
  if (reader.flag("use_mrope", false))
    reader.fail(unsupported("'use_mrope' is not known for Qwen 2 models"));
  qwen::read_windows(reader, json, qwen::Windows::upper_layers, config);
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "qwen2.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  return basic_gguf_form("qwen2", config);
}

}  // namespace

const Architecture& arch_qwen2() {
  static const Architecture architecture{
      "qwen2",      kNames,         kGgufNames,        parse_config,
      parse_gguf,   llama::declare, llama::may_ignore, llama::kv,
      llama::embed, llama::layer,   llama::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
