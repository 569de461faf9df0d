// Phi-3 and Phi-4-mini: Llama's build with q, k and v in one stored projection, gate and up in
// another, perhaps a part of each head that does not turn, and LongRoPE.
#include <fmt/core.h>

#include <array>
#include <cstring>

#include "model/arch/llama.h"
#include "model/rope_scaling.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"Phi3ForCausalLM", "phi3"};
constexpr std::array<std::string_view, 1> kGgufNames = {"phi3"};
constexpr const char* kShortFactors = "rope_factors_short.weight";
constexpr const char* kLongFactors = "rope_factors_long.weight";
// Left over in configs of Phi-4-mini; Hugging Face's code reads none of them.
constexpr std::array<std::string_view, 4> kUnread = {"full_attn_mod", "interpolate_factor",
                                                     "lm_head_bias", "mlp_bias"};

Result<Config> parse_config(const JsonObject& json) {
  JsonObject numbers = json;  // with what the absent key means
  numbers.emplace("original_max_position_embeddings", 4096);
  ConfigReader reader(numbers);
  Config config = llama::read_config(
      reader, {.context_length = 4096, .norm_eps = 1e-5, .partial_rotary = true});
  if (reader.flag("attention_bias", false))
    reader.fail(unsupported("'attention_bias' is not known for Phi-3 models"));
  for (const char* key : {"lm_head_bias", "mlp_bias"})
    if (reader.flag(key, false))
      reader.fail(unsupported(fmt::format("'{}' is not known for Phi-3 models", key)));
  reader.known(kUnread);
  config.window = llama::read_window(reader, 0);
  return llama::finish_config(reader, std::move(config));
}

// Factors on the wave lengths, for texts up to the original context and for longer ones.
Result<std::vector<float>> divided(const TensorFiles& tensors, const char* name,
                                   const std::vector<float>& inverse) {
  const HostTensor factors = TRY(tensors.find(name));
  if (factors.dtype != DType::f32 || factors.elements() != static_cast<int64_t>(inverse.size()))
    return corrupt(fmt::format("'{}' is not one float32 for each rotary pair", name));
  std::vector<float> out = inverse;
  for (size_t i = 0; i < out.size(); ++i) {
    float factor = 0;
    std::memcpy(&factor, factors.bytes.data() + i * sizeof factor, sizeof factor);
    if (!(factor > 0)) return corrupt(fmt::format("'{}' holds a value that is not positive", name));
    out[i] /= factor;
  }
  return out;
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  JsonObject numbers = metadata;
  numbers.erase("phi3.rope.scaling.attn_factor");  // read here, not as yarn's
  ConfigReader reader(numbers, "phi3.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  if (reader.number("attention.sliding_window", 0) > 0)
    config.window = reader.size("attention.sliding_window");
  if (tensors.contains(kLongFactors)) {
    const std::vector<float> plain = config.rope.inverse_freqs;
    config.rope.attention_factor =
        static_cast<float>(ConfigReader(metadata, "phi3.").number("rope.scaling.attn_factor", 1));
    config.far_rope = config.rope;
    config.rope.inverse_freqs = TRY(divided(tensors, kShortFactors, plain));
    config.far_rope.inverse_freqs = TRY(divided(tensors, kLongFactors, plain));
    config.far_beyond = reader.size("rope.scaling.original_context_length", config.context_length);
  }
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  GgufForm form = basic_gguf_form("phi3", config);
  form.keys["attention.sliding_window"] = config.window;
  form.keys["rope.scaling.original_context_length"] =
      config.far_beyond > 0 ? config.far_beyond : config.context_length;
  if (config.far_beyond == 0) return form;
  form.keys["rope.scaling.attn_factor"] = static_cast<double>(config.rope.attention_factor);
  const auto plain = rope_frequencies(config.rope_origin.theta, config.rope.rotary_dims);
  for (const auto& [name, rope] :
       {std::pair{kShortFactors, &config.rope}, {kLongFactors, &config.far_rope}}) {
    std::vector<float> factors;
    for (size_t i = 0; i < plain.size(); ++i)
      factors.push_back(static_cast<float>(plain[i] / rope->inverse_freqs[i]));
    form.tensors.emplace_back(name, std::move(factors));
  }
  return form;
}

std::vector<WeightSpec> declare(const Config& config) {
  const int64_t q = static_cast<int64_t>(config.heads) * config.head_dim;
  const int64_t kv = static_cast<int64_t>(config.kv_heads) * config.head_dim;
  const int64_t ff = config.intermediate_size;
  std::vector<WeightSpec> specs = llama::declare(config);
  const auto take_part = [&](WeightSpec& spec, const char* name, const char* gguf, int64_t begin,
                             int64_t stored_rows) {
    spec.name = config.gguf ? fmt::format("blk.{}.{}", spec.layer, gguf)
                            : fmt::format("model.layers.{}.{}", spec.layer, name);
    spec.stored = {stored_rows, spec.shape.back()};
    spec.row_begin = begin;
  };
  for (WeightSpec& spec : specs) {
    if (spec.part != Part::layer) continue;
    const auto of_qkv = [&](int64_t begin) {
      take_part(spec, "self_attn.qkv_proj.weight", "attn_qkv.weight", begin, q + 2 * kv);
    };
    const auto of_gate_up = [&](int64_t begin) {
      take_part(spec, "mlp.gate_up_proj.weight", "ffn_up.weight", begin, 2 * ff);
    };
    if (spec.slot == llama::kQuery) of_qkv(0);
    if (spec.slot == llama::kKey) of_qkv(q);
    if (spec.slot == llama::kValue) of_qkv(q + kv);
    if (spec.slot == llama::kGate) of_gate_up(0);
    if (spec.slot == llama::kUp) of_gate_up(ff);
  }
  return specs;
}

bool may_ignore(const Config& config, std::string_view name) {
  return name == kShortFactors || name == kLongFactors || llama::may_ignore(config, name);
}

}  // namespace

const Architecture& arch_phi3() {
  static const Architecture architecture{
      "phi3",    kNames,       kGgufNames,   parse_config, parse_gguf, declare, may_ignore,
      llama::kv, llama::embed, llama::layer, llama::head,  nullptr,    to_gguf};
  return architecture;
}

}  // namespace exo
