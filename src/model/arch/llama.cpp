// Llama 2 and 3.x, and the GGUF architecture "llama".
#include "model/arch/llama.h"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <cstring>

#include "model/experts.h"
#include "model/kv_cache.h"
#include "model/rope_scaling.h"
#include "model/weights.h"

namespace exo::llama {
namespace {

// Keys of GGUF metadata below "llama." that do not either.
constexpr std::array<std::string_view, 3> kHarmlessGguf = {"tensor_data_layout", "vocab_size",
                                                           "rope.scaling.finetuned"};

constexpr int kMostHeadDim = 1 << 14;
constexpr int kMostLayers = 1 << 12;

Error head_dim_error(int head_dim) {
  return invalid_argument(fmt::format("the head dimension {} is out of range", head_dim));
}

void require_value(ConfigReader& reader, std::string_view key, std::string_view found,
                   std::string_view wanted) {
  if (found != wanted)
    reader.fail(unsupported(fmt::format("'{}' is '{}'; known is '{}'", key, found, wanted)));
}

void add(std::vector<WeightSpec>& specs, const WeightSpec& spec, bool present = true) {
  if (present) specs.push_back(spec);
}

// Rotary embedding: the part of a head that turns, and how fast.
void read_rotation(ConfigReader& reader, const Conventions& conventions, Config& config) {
  const double part = read_partial_rotary(reader);
  if (!(part > 0 && part <= 1) || (part != 1 && !conventions.partial_rotary))
    reader.fail(unsupported("this 'partial_rotary_factor' is not known here"));
  config.rope.head_dim = config.head_dim;
  config.rope.rotary_dims = static_cast<int>(config.head_dim * std::clamp(part, 0.0, 1.0));
  const auto rope =
      read_rope(reader, conventions.rope_theta, config.rope.rotary_dims, config.context_length);
  if (!rope.ok()) return reader.fail(rope.error());
  config.rope.inverse_freqs = rope->inverse;
  config.rope.attention_factor = rope->attention_factor;
  config.rope_origin = rope->origin;
  config.far_rope = config.rope;
  config.far_rope.inverse_freqs = rope->far;
  config.far_beyond = rope->far_beyond;
}

struct Names {
  const char* hugging_face;
  const char* gguf;
};

std::string layer_name(const Config& config, int layer, const Names& names) {
  return config.gguf ? fmt::format("blk.{}.{}", layer, names.gguf)
                     : fmt::format("model.layers.{}.{}", layer, names.hugging_face);
}

void declare_experts(const Config& config, int layer, std::vector<WeightSpec>& specs) {
  const std::string base =
      config.gguf ? fmt::format("blk.{}.", layer) : fmt::format("model.layers.{}.", layer);
  experts::declare(config, layer, base, specs);
}

void declare_layer(const Config& config, int layer, std::vector<WeightSpec>& specs) {
  const int64_t d = config.hidden_size, ff = config.intermediate_size;
  const int64_t q = static_cast<int64_t>(config.heads) * config.head_dim;
  const int64_t kv = static_cast<int64_t>(config.kv_heads) * config.head_dim;
  const auto one = [&](Slot slot, Names names, Shape shape, SplitAxis split, bool present = true) {
    add(specs,
        {Part::layer, layer, slot, layer_name(config, layer, names), std::move(shape), split},
        present);
  };
  using enum SplitAxis;
  one(kAttentionNorm, {"input_layernorm.weight", "attn_norm.weight"}, {d}, none);
  one(kQuery, {"self_attn.q_proj.weight", "attn_q.weight"}, {q, d}, rows);
  one(kKey, {"self_attn.k_proj.weight", "attn_k.weight"}, {kv, d}, rows);
  one(kValue, {"self_attn.v_proj.weight", "attn_v.weight"}, {kv, d}, rows);
  one(kOutput, {"self_attn.o_proj.weight", "attn_output.weight"}, {d, q}, columns);
  one(kQueryBias, {"self_attn.q_proj.bias", "attn_q.bias"}, {q}, rows, config.qkv_bias);
  one(kKeyBias, {"self_attn.k_proj.bias", "attn_k.bias"}, {kv}, rows, config.qkv_bias);
  one(kValueBias, {"self_attn.v_proj.bias", "attn_v.bias"}, {kv}, rows, config.qkv_bias);
  one(kOutputBias, {"self_attn.o_proj.bias", "attn_output.bias"}, {d}, none, config.output_bias);
  const Shape head{config.head_dim};
  one(kQueryNorm, {"self_attn.q_norm.weight", "attn_q_norm.weight"}, head, none, config.qk_norm);
  one(kKeyNorm, {"self_attn.k_norm.weight", "attn_k_norm.weight"}, head, none, config.qk_norm);
  one(kMlpNorm, {"post_attention_layernorm.weight", "ffn_norm.weight"}, {d}, none);
  if (config.experts.in(layer)) return declare_experts(config, layer, specs);
  one(kGate, {"mlp.gate_proj.weight", "ffn_gate.weight"}, {ff, d}, rows);
  one(kUp, {"mlp.up_proj.weight", "ffn_up.weight"}, {ff, d}, rows);
  one(kDown, {"mlp.down_proj.weight", "ffn_down.weight"}, {d, ff}, columns);
  one(kGateBias, {"mlp.gate_proj.bias", "ffn_gate.bias"}, {ff}, rows, config.mlp_bias);
  one(kUpBias, {"mlp.up_proj.bias", "ffn_up.bias"}, {ff}, rows, config.mlp_bias);
  one(kDownBias, {"mlp.down_proj.bias", "ffn_down.bias"}, {d}, none, config.mlp_bias);
}

void read_gguf_experts(ConfigReader& reader, const TensorFiles& tensors, Config& config) {
  ExpertsConfig& experts = config.experts;
  reader.known(std::array<std::string_view, 4>{"expert_count", "expert_used_count",
                                               "expert_feed_forward_length",
                                               "expert_shared_feed_forward_length"});
  if (reader.number("expert_count", 0) == 0) return;
  experts.count = reader.size("expert_count");
  experts.route.per_row = reader.size("expert_used_count");
  experts.width = reader.size("expert_feed_forward_length", config.intermediate_size);
  if (tensors.contains("blk.0.ffn_gate_shexp.weight"))
    experts.shared_width =
        reader.size("expert_shared_feed_forward_length", config.intermediate_size);
  experts.shared_gated = tensors.contains("blk.0.ffn_gate_inp_shexp.weight");
  for (int layer = 0; layer < config.layer_count && layer < kMostLayers; ++layer)
    experts.plain.push_back(!tensors.contains(fmt::format("blk.{}.ffn_gate_inp.weight", layer)));
}

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = read_config(reader);
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", false);
  config.mlp_bias = reader.flag("mlp_bias", false);
  return finish_config(reader, std::move(config));
}

// Factors on the wave lengths that the converter worked out from llama3 scaling.
Result<void> apply_rope_factors(const TensorFiles& tensors, std::vector<float>& inverse) {
  if (!tensors.contains("rope_freqs.weight")) return {};
  const HostTensor factors = TRY(tensors.find("rope_freqs.weight"));
  if (factors.dtype != DType::f32 || factors.elements() != static_cast<int64_t>(inverse.size()))
    return corrupt("'rope_freqs.weight' is not one float32 for each rotary pair");
  for (size_t i = 0; i < inverse.size(); ++i) {
    float factor = 0;
    std::memcpy(&factor, factors.bytes.data() + i * sizeof(factor), sizeof(factor));
    if (!(factor > 0)) return corrupt("'rope_freqs.weight' holds a value that is not positive");
    inverse[i] /= factor;
  }
  return {};
}

Result<RopeFrequencies> read_gguf_rope(ConfigReader& reader, const Config& config, int dims) {
  const double theta = reader.number("rope.freq_base", 10000);
  if (!(theta > 1)) return invalid_argument("'rope.freq_base' is out of range");
  const std::vector<double> inverse = rope_frequencies(theta, dims);
  // Old files have the linear factor alone.
  const double factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 1));
  const std::string type = reader.text("rope.scaling.type", factor == 1 ? "none" : "linear");
  YarnParams yarn;
  yarn.factor = factor;
  yarn.original_context =
      reader.size("rope.scaling.original_context_length", config.context_length);
  yarn.beta_fast = reader.number("rope.scaling.yarn_beta_fast", 32);
  yarn.beta_slow = reader.number("rope.scaling.yarn_beta_slow", 1);
  yarn.truncate = reader.flag("rope.scaling.yarn_truncate", true);
  // llama.cpp multiplies its own mscale with attn_factor; only the plain case is the same as ours.
  if (reader.number("rope.scaling.attn_factor", 1) != 1)
    return unsupported("'rope.scaling.attn_factor' other than 1 is not known here");
  if (!(factor > 0)) return invalid_argument("'rope.scaling.factor' must be positive");
  if (type == "none") return scale_linear(inverse, 1);
  if (type == "linear") return scale_linear(inverse, factor);
  if (type == "yarn") return scale_yarn(inverse, theta, yarn);
  return unsupported(fmt::format("rope scaling of type '{}' is not known here", type));
}

// Keys below the architecture's name for a mixture of experts; Mixtral's files say "llama".
Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "llama.");
  Config config = TRY(read_gguf(reader, tensors, true));
  if (config.experts.count > 0) config.experts.route.renormalize = true;
  if (reader.number("attention.sliding_window", 0) > 0)  // Mistral's
    config.window = reader.size("attention.sliding_window");
  return finish_config(reader, std::move(config));
}

constexpr std::array<std::string_view, 2> kNames = {"LlamaForCausalLM", "llama"};
constexpr std::array<std::string_view, 1> kGgufNames = {"llama"};

}  // namespace

Result<Config> read_gguf(ConfigReader& reader, const TensorFiles& tensors, bool interleaved) {
  Config config;
  config.gguf = true;
  config.layer_count = reader.size("block_count");
  config.hidden_size = reader.size("embedding_length");
  config.intermediate_size = reader.size("feed_forward_length");
  config.context_length = reader.size("context_length");
  config.heads = reader.size("attention.head_count");
  config.kv_heads = reader.size("attention.head_count_kv", config.heads);
  config.head_dim = reader.size("attention.key_length",
                                std::max(1, config.hidden_size / std::max(1, config.heads)));
  config.norm_eps = static_cast<float>(reader.number("attention.layer_norm_rms_epsilon", 1e-5));
  config.tied_embeddings = !tensors.contains("output.weight");
  config.qkv_bias = tensors.contains("blk.0.attn_q.bias");
  config.output_bias = tensors.contains("blk.0.attn_output.bias");
  config.mlp_bias = tensors.contains("blk.0.ffn_gate.bias");
  config.qk_norm = tensors.contains("blk.0.attn_q_norm.weight");
  const int value_length = reader.size("attention.value_length", config.head_dim);
  const int rotary_dims = reader.size("rope.dimension_count", config.head_dim);
  reader.known(kHarmlessGguf);
  read_gguf_experts(reader, tensors, config);
  if (config.head_dim > kMostHeadDim) return head_dim_error(config.head_dim);
  if (value_length != config.head_dim || rotary_dims > config.head_dim || rotary_dims % 2 != 0)
    return unsupported("attention with these key, value and rotary lengths is not known here");
  const HostTensor embedding = TRY(tensors.find("token_embd.weight"));
  if (embedding.shape.size() != 2) return corrupt("'token_embd.weight' is not a matrix");
  config.vocab_size = static_cast<int>(std::min<int64_t>(embedding.shape[0], 1 << 30));
  const RopeFrequencies rope = TRY(read_gguf_rope(reader, config, rotary_dims));
  // For "llama" the converter reorders the rows of q and k, so that rotary pairs are neighbours.
  config.rope = {config.head_dim, rotary_dims, interleaved, rope.attention_factor, rope.inverse};
  TRY(apply_rope_factors(tensors, config.rope.inverse_freqs));
  return config;
}

Config read_config(ConfigReader& reader, const Conventions& conventions) {
  Config config;
  config.layer_count = reader.size("num_hidden_layers");
  config.hidden_size = reader.size("hidden_size");
  config.intermediate_size = reader.size("intermediate_size");
  config.heads = reader.size("num_attention_heads");
  const bool as_heads = conventions.kv_heads == 0 || reader.present("num_key_value_heads");
  config.kv_heads =
      reader.size("num_key_value_heads", as_heads ? config.heads : conventions.kv_heads);
  config.head_dim =
      reader.size("head_dim", conventions.head_dim > 0
                                  ? conventions.head_dim
                                  : std::max(1, config.hidden_size / std::max(1, config.heads)));
  config.vocab_size = reader.size("vocab_size");
  config.context_length = reader.size("max_position_embeddings", conventions.context_length);
  config.norm_eps = static_cast<float>(reader.number("rms_norm_eps", conventions.norm_eps));
  config.tied_embeddings = reader.flag("tie_word_embeddings", conventions.tied_embeddings);
  const std::string activation = reader.text(conventions.activation_key, conventions.activation);
  require_value(reader, conventions.activation_key, activation == "swish" ? "silu" : activation,
                conventions.activation);
  if (reader.flag("rope_interleaved", false))
    reader.fail(unsupported("'rope_interleaved' is not known here"));
  reader.known_everywhere();
  if (config.head_dim > kMostHeadDim) reader.fail(head_dim_error(config.head_dim));
  config.head_dim = std::min(config.head_dim, kMostHeadDim);
  read_rotation(reader, conventions, config);
  return config;
}

int read_window(ConfigReader& reader, int when_absent) {
  return reader.size("sliding_window", reader.present("sliding_window") ? 0 : when_absent);
}

void read_layer_windows(ConfigReader& reader, const JsonObject& json, int window,
                        const std::function<bool(int layer)>& slides, Config& config) {
  reader.known(std::array<std::string_view, 1>{"layer_types"});
  const auto types = get_array(json, "layer_types");
  if (!types.ok()) return reader.fail(types.error());
  const size_t count = static_cast<size_t>(std::min(config.layer_count, kMostLayers));
  if (*types != nullptr && (*types)->size() != count)
    return reader.fail(invalid_argument("'layer_types' does not name every layer once"));
  for (size_t layer = 0; layer < count; ++layer) {
    bool sliding = slides(static_cast<int>(layer));
    if (*types != nullptr) {
      const Json& type = (**types)[layer];
      sliding = type == "sliding_attention";
      if (!sliding && type != "full_attention")
        return reader.fail(unsupported("'layer_types' names a layer that is not known here"));
    }
    config.layer_windows.push_back(sliding ? window : 0);
  }
}

Result<Config> finish_config(ConfigReader& reader, Config config) {
  TRY(reader.finish());
  constexpr int kMostWidth = 1 << 20;
  if (config.layer_count > kMostLayers || config.hidden_size > kMostWidth ||
      config.intermediate_size > 1 << 24 || config.heads > 1 << 14)
    return invalid_argument("the sizes of the model are out of range");
  if (config.heads % config.kv_heads != 0)
    return invalid_argument(fmt::format("{} attention heads cannot share {} key/value heads",
                                        config.heads, config.kv_heads));
  if (config.head_dim % 2 != 0) return invalid_argument("the head dimension is odd");
  if (!(config.norm_eps >= 0 && config.norm_eps < 1))
    return invalid_argument("the epsilon of the norms is out of range");
  return config;
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  GgufForm form = basic_gguf_form("llama", config);
  form.turned = {{kQuery, config.heads},
                 {kKey, config.kv_heads},
                 {kQueryBias, config.heads},
                 {kKeyBias, config.kv_heads}};
  add_window(form);
  return form;
}

std::vector<WeightSpec> declare(const Config& config) {
  std::vector<WeightSpec> specs;
  const int64_t d = config.hidden_size;
  const Shape table{config.vocab_size, d};
  const std::string embedding = config.gguf ? "token_embd.weight" : "model.embed_tokens.weight";
  const std::string output = config.gguf ? "output.weight" : "lm_head.weight";
  add(specs, {Part::embedding, 0, kEmbedding, embedding, table, SplitAxis::none});
  for (int layer = 0; layer < config.layer_count; ++layer) declare_layer(config, layer, specs);
  add(specs, {Part::head,
              0,
              kFinalNorm,
              config.gguf ? "output_norm.weight" : "model.norm.weight",
              {d},
              SplitAxis::none});
  add(specs,
      {Part::head, 0, kHead, config.tied_embeddings ? embedding : output, table, SplitAxis::rows});
  return specs;
}

bool may_ignore(const Config& config, std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name == "rope_freqs.weight" ||
         (config.tied_embeddings && name == "lm_head.weight");
}

KvSpec kv(const Config& config, int layer) {
  return {config.kv_heads, config.head_dim, config.head_dim, config.window_of(layer)};
}

Tensor embed(const StepContext& step, std::span<const TokenId> ids) {
  return step.ops.embed(step.weights.embedding(kEmbedding), ids);  // [n, d]
}

Tensor rope(const StepContext& step, const Tensor& x) {
  const Config& config = step.config;
  if (config.far_beyond == 0) return step.ops.rope(x, step.positions, config.rope);
  Tensor out = step.ops.scale(x, 0);
  for (const bool far : {false, true}) {
    std::vector<int32_t> rows, positions;
    for (const AttentionSpan& span : step.spans)
      for (int i = 0; i < span.row_count && (span.sequence_length > config.far_beyond) == far;
           ++i) {
        rows.push_back(span.row_begin + i);
        positions.push_back(span.first_position + i);
      }
    if (rows.empty()) continue;
    const Tensor turned = step.ops.rope(step.ops.gather_rows(x, rows), positions,
                                        far ? config.far_rope : config.rope);
    if (rows.size() == step.positions.size()) return turned;
    out = step.ops.add_rows(out, turned, rows, std::vector<float>(rows.size(), 1.0f));
  }
  return out;
}

Tensor layer(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  const Weights& w = step.weights;
  Ops& ops = step.ops;
  const auto weight = [&](Slot slot) -> const Tensor& { return w.layer(layer, slot); };
  const auto bias = [&](Slot slot) { return w.layer_or_null(layer, slot); };

  const Tensor normed = ops.rms_norm(x, weight(kAttentionNorm), config.norm_eps);  // [n, d]
  const auto per_head = [&](const Tensor& y, Slot norm) {
    return config.qk_norm ? ops.rms_norm(y, weight(norm), config.norm_eps) : y;
  };
  const Projection qkv[] = {{&weight(kQuery), bias(kQueryBias)},
                            {&weight(kKey), bias(kKeyBias)},
                            {&weight(kValue), bias(kValueBias)}};
  const std::vector<Tensor> projected = ops.matmuls(normed, qkv);
  const Tensor q = rope(step, per_head(projected[0], kQueryNorm));  // [n, heads * head_dim]
  const Tensor k = rope(step, per_head(projected[1], kKeyNorm));    // [n, kv_heads * head_dim]
  const Tensor& v = projected[2];

  AttentionParams attention;
  attention.heads = config.heads;
  attention.kv_heads = config.kv_heads;
  attention.k_dim = attention.v_dim = config.head_dim;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  attention.window = config.window_of(layer);
  KvLayer& cache = step.kv.layer(layer);
  ops.kv_write(cache, k, v, step.spans);
  const Tensor mixed = ops.attention(q, cache, step.spans, attention);  // [n, heads * head_dim]
  const Tensor h = ops.matmul_add(x, mixed, weight(kOutput), bias(kOutputBias));  // [n, d]

  const Tensor mlp_in = ops.rms_norm(h, weight(kMlpNorm), config.norm_eps);
  if (config.experts.in(layer)) return experts::mlp(step, layer, h, mlp_in);
  const Projection gate_up[] = {{&weight(kGate), bias(kGateBias)}, {&weight(kUp), bias(kUpBias)}};
  const std::vector<Tensor> inner = ops.matmuls(mlp_in, gate_up);  // [n, ff] each
  return ops.matmul_add(h, ops.swiglu(inner[0], inner[1]), weight(kDown), bias(kDownBias));
}

Tensor head(const StepContext& step, const Tensor& x) {
  return step.ops.norm_matmul(x, step.weights.head(kFinalNorm), step.config.norm_eps,
                              step.weights.head(kHead), nullptr);  // [m, vocab]
}

}  // namespace exo::llama

namespace exo {

const Architecture& arch_llama() {
  static const Architecture architecture{
      "llama",        llama::kNames,     llama::kGgufNames, llama::parse_config, llama::parse_gguf,
      llama::declare, llama::may_ignore, llama::kv,         llama::embed,        llama::layer,
      llama::head,    nullptr,           llama::to_gguf};
  return architecture;
}

}  // namespace exo
