// Phi-3 and Phi-4-mini: Llama's build with q, k and v in one stored projection, gate and up in
// another, perhaps a part of each head that does not turn, and LongRoPE.
#include <fmt/core.h>

#include <array>

#include "model/arch/llama.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Phi3ForCausalLM", "phi3"};
// Left over in configs of Phi-4-mini; Hugging Face's code reads none of them.
constexpr std::array<std::string_view, 4> kUnread = {"full_attn_mod", "interpolate_factor",
                                                     "lm_head_bias", "mlp_bias"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(
      reader, {.context_length = 4096, .norm_eps = 1e-5, .partial_rotary = true});
  if (reader.flag("attention_bias", false))
    reader.fail(unsupported("'attention_bias' is not known for Phi-3 models"));
  for (const char* key : {"lm_head_bias", "mlp_bias"})
    if (reader.flag(key, false))
      reader.fail(unsupported(fmt::format("'{}' is not known for Phi-3 models", key)));
  reader.known(kUnread);
  if (reader.present("sliding_window") && !json.at("sliding_window").is_null())
    config.window = reader.size("sliding_window");
  return llama::finish_config(reader, std::move(config));
}

void take_part(WeightSpec& spec, const char* tensor, int64_t begin, int64_t stored_rows) {
  spec.name = fmt::format("model.layers.{}.{}", spec.layer, tensor);
  spec.stored = {stored_rows, spec.shape.back()};
  spec.row_begin = begin;
}

std::vector<WeightSpec> declare(const Config& config) {
  const int64_t q = static_cast<int64_t>(config.heads) * config.head_dim;
  const int64_t kv = static_cast<int64_t>(config.kv_heads) * config.head_dim;
  const int64_t ff = config.intermediate_size;
  std::vector<WeightSpec> specs = llama::declare(config);
  for (WeightSpec& spec : specs) {
    if (spec.part != Part::layer) continue;
    if (spec.slot == llama::kQuery) take_part(spec, "self_attn.qkv_proj.weight", 0, q + 2 * kv);
    if (spec.slot == llama::kKey) take_part(spec, "self_attn.qkv_proj.weight", q, q + 2 * kv);
    if (spec.slot == llama::kValue)
      take_part(spec, "self_attn.qkv_proj.weight", q + kv, q + 2 * kv);
    if (spec.slot == llama::kGate) take_part(spec, "mlp.gate_up_proj.weight", 0, 2 * ff);
    if (spec.slot == llama::kUp) take_part(spec, "mlp.gate_up_proj.weight", ff, 2 * ff);
  }
  return specs;
}

}  // namespace

const Architecture& arch_phi3() {
  static const Architecture architecture{
      "phi3",    kNames,       {},           parse_config, nullptr, declare, llama::may_ignore,
      llama::kv, llama::embed, llama::layer, llama::head};
  return architecture;
}

}  // namespace exo
