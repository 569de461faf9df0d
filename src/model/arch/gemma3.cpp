// Gemma 3 for text (Gemma Team 2025): Gemma 2 with normed queries and keys instead of soft caps,
// and a slower rotation in the layers that see everything.
#include <fmt/core.h>

#include <array>

#include "model/arch/gemma.h"
#include "model/rope_scaling.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Gemma3ForCausalLM", "gemma3_text"};
constexpr std::array<std::string_view, 1> kGgufNames = {"gemma3"};

RopeParams plain_rope(double theta, int head_dim) {
  return {head_dim, head_dim, false, 1.0f,
          scale_linear(rope_frequencies(theta, head_dim), 1).inverse};
}

// transformers 5 writes one object of parameters for each kind of layer; older configs have the
// local base beside the global one.
Result<void> read_ropes(const JsonObject& json, JsonObject& numbers, double& local_theta) {
  const JsonObject* parameters = TRY(get_object(json, "rope_parameters"));
  if (parameters == nullptr) return {};
  const JsonObject* full = TRY(get_object(*parameters, "full_attention"));
  const JsonObject* sliding = TRY(get_object(*parameters, "sliding_attention"));
  if (full == nullptr || sliding == nullptr)
    return unsupported("'rope_parameters' does not name full_attention and sliding_attention");
  ConfigReader local(*sliding);
  local_theta = local.number("rope_theta", 10000);
  if (local.text("rope_type", "default") != "default")
    return unsupported("scaled rotation in the layers with a window is not known here");
  TRY(local.finish());
  numbers["rope_parameters"] = *full;
  return {};
}

Result<Config> parse_config(const JsonObject& json) {
  JsonObject numbers = json;
  double local_theta = 10000;
  TRY(read_ropes(json, numbers, local_theta));
  ConfigReader reader(numbers);
  reader.known(std::array<std::string_view, 2>{"hidden_act", "cache_implementation"});
  Config config = llama::read_config(reader, {.activation_key = "hidden_activation",
                                              .activation = "gelu_pytorch_tanh",
                                              .head_dim = 256,
                                              .kv_heads = 4,
                                              .context_length = 131072,
                                              .rope_theta = 1e6,
                                              .tied_embeddings = true});
  config.qk_norm = true;
  gemma::Extra extra;
  extra.query_scalar = static_cast<float>(reader.number("query_pre_attn_scalar", 256));
  // Hugging Face's class has the key, its attention does not use it.
  if (reader.number("attn_logit_softcapping", 0) > 0)
    reader.fail(unsupported("'attn_logit_softcapping' is not known for Gemma 3 models"));
  extra.logit_cap = static_cast<float>(reader.number("final_logit_softcapping", 0));
  for (const char* key : {"attention_bias", "use_bidirectional_attention"})
    if (reader.flag(key, false))
      reader.fail(unsupported(fmt::format("'{}' is not known for Gemma models", key)));
  local_theta = reader.number("rope_local_base_freq", local_theta);
  if (!(local_theta > 1)) reader.fail(invalid_argument("'rope_local_base_freq' is out of range"));
  extra.local_rope = plain_rope(local_theta, config.head_dim);
  const int pattern =
      reader.size("sliding_window_pattern", reader.size("_sliding_window_pattern", 6));
  llama::read_layer_windows(
      reader, numbers, reader.size("sliding_window", 4096),
      [=](int layer) { return (layer + 1) % pattern != 0; }, config);
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "gemma3.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  gemma::Extra extra;
  const bool largest = config.layer_count == 62;  // 27B, as in Gemma 2
  extra.query_scalar = largest ? static_cast<float>(config.hidden_size) / config.heads
                               : static_cast<float>(config.head_dim);
  extra.logit_cap = static_cast<float>(reader.number("final_logit_softcapping", 0));
  const double local_theta = reader.number("rope.freq_base_swa", 10000);
  if (!(local_theta > 1)) return invalid_argument("'rope.freq_base_swa' is out of range");
  extra.local_rope = plain_rope(local_theta, config.head_dim);
  const int window = reader.size("attention.sliding_window", 4096);
  const int pattern = reader.size("attention.sliding_window_pattern", 6);
  for (int layer = 0; layer < config.layer_count && layer < 1 << 12; ++layer)
    config.layer_windows.push_back((layer + 1) % pattern != 0 ? window : 0);
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject& json) {
  GgufForm form = TRY(gemma::to_gguf("gemma3", config));
  JsonObject unused;
  double local_theta = 10000;
  TRY(read_ropes(json, unused, local_theta));
  form.keys["rope.freq_base_swa"] =
      TRY(get_number(json, "rope_local_base_freq")).value_or(local_theta);
  for (int layer = 0; layer < config.layer_count; ++layer) {
    if (config.window_of(layer) > 0) continue;
    form.keys["attention.sliding_window_pattern"] = layer + 1;
    break;
  }
  if (gemma::extra(config).logit_cap > 0)
    form.keys["final_logit_softcapping"] = static_cast<double>(gemma::extra(config).logit_cap);
  return form;
}

}  // namespace

const Architecture& arch_gemma3() {
  static const Architecture architecture{
      "gemma3",     kNames,         kGgufNames,        parse_config,
      parse_gguf,   gemma::declare, gemma::may_ignore, llama::kv,
      gemma::embed, gemma::layer,   gemma::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
