// DeepSeek V2, V2-Lite, V3 and R1: multi-head latent attention (DeepSeek-AI 2024), shared and
// routed experts after a few plain layers. The cache holds one latent and one rotated key per
// token; the matrices that would widen them are absorbed into query and output (section 2.1.2 of
// the V2 paper).
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "model/arch/llama.h"
#include "model/experts.h"
#include "model/kv_cache.h"
#include "model/weights.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

// Beside Llama's slots, whose queries, keys and values these stand for.
enum Slot : int {
  kQueryDown = 64,
  kQueryDownNorm,
  kQueryUp,
  kLatent,  // hidden -> latent and rotated key
  kLatentNorm,
  kKeyUp,    // [heads * latent, nope]: transposed per head, taken into the query
  kValueUp,  // [heads * v, latent]
  kQueryDownBias,
  kLatentBias,
};

constexpr float kLatentNormEps = 1e-6f;  // fixed, whatever the config's epsilon is

struct Extra {
  int query_rank = 0;  // 0: queries come straight from the hidden state
  int latent = 0;
  int nope_dim = 0;
  int rope_dim = 0;
  int v_dim = 0;
  float scale = 0;
  bool fused = true;  // keys and values are widened by one stored tensor, kv_b

  int q_dim() const { return nope_dim + rope_dim; }
};
const Extra& extra(const Config& config) { return std::any_cast<const Extra&>(config.extra); }

constexpr std::array<std::string_view, 1> kGgufNames = {"deepseek2"};
constexpr std::array<std::string_view, 4> kNames = {"DeepseekV2ForCausalLM", "deepseek_v2",
                                                    "DeepseekV3ForCausalLM", "deepseek_v3"};
// For training, or said by the tensors' shapes.
constexpr std::array<std::string_view, 7> kUnread = {
    "aux_loss_alpha", "ep_size",     "seq_aux", "num_nextn_predict_layers",
    "qk_head_dim",    "layer_types", "head_dim"};

Result<double> score_scale(const JsonObject& json, const Extra& extra) {
  const JsonObject* rope = TRY(get_object(json, "rope_parameters"));
  if (rope == nullptr) rope = TRY(get_object(json, "rope_scaling"));
  double scale = 1 / std::sqrt(static_cast<double>(extra.q_dim()));
  if (rope == nullptr) return scale;
  const double all = TRY(get_number(*rope, "mscale_all_dim")).value_or(0);
  const double factor = TRY(get_number(*rope, "factor")).value_or(1);
  if (all > 0 && factor > 1) {
    const double mscale = 0.1 * all * std::log(factor) + 1;
    scale *= mscale * mscale;
  }
  return scale;
}

void read_experts(ConfigReader& reader, bool third, Config& config) {
  ExpertsConfig& experts = config.experts;
  experts.names = ExpertsConfig::Names::deepseek;
  experts.count = static_cast<int>(reader.number("n_routed_experts", third ? 256 : 64));
  if (experts.count <= 0 || experts.count > 1 << 16) {
    reader.fail(unsupported("'n_routed_experts' is out of range"));
    return;
  }
  experts.route.per_row = reader.size("num_experts_per_tok", 8);
  experts.width = reader.size("moe_intermediate_size", third ? 2048 : 1407);
  experts.shared_width =
      experts.width * static_cast<int>(reader.number("n_shared_experts", third ? 1 : 2));
  experts.route.scale = static_cast<float>(reader.number("routed_scaling_factor", third ? 2.5 : 1));
  experts.route.renormalize = reader.flag("norm_topk_prob", third);
  const std::string method = reader.text("topk_method", third ? "noaux_tc" : "greedy");
  const std::string scores = reader.text("scoring_func", third ? "sigmoid" : "softmax");
  const int groups = reader.size("n_group", third ? 8 : 1),
            used = reader.size("topk_group", third ? 4 : 1);
  if (method == "noaux_tc" && scores == "sigmoid" && third) {
    experts.route.score = RouteParams::Score::sigmoid;
    experts.route_bias = true;
  } else if (third || scores != "softmax" || experts.route.renormalize ||
             (method != "greedy" && method != "group_limited_greedy")) {
    reader.fail(unsupported(fmt::format(
        "routing with topk_method '{}', scoring_func '{}' and norm_topk_prob {} is not known here",
        method, scores, experts.route.renormalize)));
  }
  if (method != "greedy") {
    experts.route.groups = groups;
    experts.route.groups_used = used;
  }
  const auto& route = experts.route;
  if (experts.count % route.groups != 0 || route.groups_used > route.groups ||
      route.per_row > experts.count / route.groups * route.groups_used)
    reader.fail(invalid_argument("'n_group', 'topk_group' and 'num_experts_per_tok' do not fit"));
  const auto first = static_cast<int>(reader.number("first_k_dense_replace", third ? 3 : 0));
  const int every = reader.size("moe_layer_freq", 1);
  for (int layer = 0; layer < std::min(config.layer_count, 1 << 12); ++layer)
    experts.plain.push_back(layer < first || layer % every != 0);
}

Result<Config> parse_config(const JsonObject& json) {
  const auto type = TRY(get_string(json, "model_type"));
  const JsonArray* names = TRY(get_array(json, "architectures"));
  const bool named = names != nullptr && !names->empty();
  const bool third = named ? names->front() == "DeepseekV3ForCausalLM" : type == "deepseek_v3";
  JsonObject numbers = json;
  Extra extra;
  ConfigReader dims(json);
  extra.rope_dim = dims.size("qk_rope_head_dim", 64);
  numbers["head_dim"] = extra.rope_dim;  // what turns
  ConfigReader reader(numbers);
  reader.size("qk_rope_head_dim", 64);
  extra.nope_dim = reader.size("qk_nope_head_dim", 128);
  extra.v_dim = reader.size("v_head_dim", 128);
  extra.latent = reader.size("kv_lora_rank", 512);
  const auto rank = TRY(get_int(json, "q_lora_rank"));
  reader.present("q_lora_rank");
  extra.query_rank = rank ? reader.size("q_lora_rank", 1536) : 0;
  if (!json.contains("q_lora_rank")) extra.query_rank = 1536;
  Config config = llama::read_config(reader, {.context_length = third ? 4096 : 2048});
  // The second's code does not read the key.
  config.rope.interleaved = reader.flag("rope_interleave", true) || !third;
  config.output_bias = reader.flag("attention_bias", false);  // of what narrows, too
  reader.known(kUnread);
  config.kv_heads = 1;
  read_experts(reader, third, config);
  for (const int size :
       {extra.rope_dim, extra.nope_dim, extra.v_dim, extra.latent, extra.query_rank})
    if (size > 1 << 14) reader.fail(invalid_argument("the head dimensions are out of range"));
  extra.scale = static_cast<float>(TRY(score_scale(json, extra)));
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

void read_gguf_experts(ConfigReader& reader, const TensorFiles& tensors, Config& config) {
  ExpertsConfig& experts = config.experts;
  experts.shared_gated = false;
  experts.shared_width = experts.width * static_cast<int>(reader.number("expert_shared_count", 0));
  experts.route.scale = static_cast<float>(reader.number("expert_weights_scale", 1));
  experts.route.renormalize = reader.flag("expert_weights_norm", false);
  experts.route.groups = static_cast<int>(std::max(1.0, reader.number("expert_group_count", 1)));
  experts.route.groups_used =
      static_cast<int>(std::max(1.0, reader.number("expert_group_used_count", 1)));
  const double scores = reader.number("expert_gating_func", 1);
  if (scores != 1 && scores != 2)
    reader.fail(unsupported("this 'expert_gating_func' is not known here"));
  if (scores == 2) experts.route.score = RouteParams::Score::sigmoid;
  const int first = static_cast<int>(reader.number("leading_dense_block_count", 0));
  experts.route_bias = tensors.contains(fmt::format("blk.{}.exp_probs_b.bias", first));
  if (experts.count % experts.route.groups != 0 ||
      experts.route.groups_used > experts.route.groups ||
      experts.route.per_row > experts.count / experts.route.groups * experts.route.groups_used)
    reader.fail(invalid_argument("the groups of experts do not fit their number"));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  const std::string at = "deepseek2.";
  Extra extra;
  ConfigReader dims(metadata, at);
  extra.rope_dim = dims.size("rope.dimension_count");
  extra.latent = dims.size("attention.kv_lora_rank");
  // Files from before the absorbed form give the lengths of plain attention.
  const int key = dims.size("attention.key_length_mla", dims.size("attention.key_length", 192));
  extra.v_dim = dims.size("attention.value_length_mla", dims.size("attention.value_length", 128));
  extra.nope_dim = key - extra.rope_dim;
  if (extra.nope_dim <= 0 || extra.latent > 1 << 14 || key > 1 << 14 || extra.v_dim > 1 << 14)
    return invalid_argument("the head dimensions are out of range");
  extra.query_rank =
      tensors.contains("blk.0.attn_q_a.weight") ? dims.size("attention.q_lora_rank") : 0;
  extra.fused = tensors.contains("blk.0.attn_kv_b.weight");
  JsonObject numbers = metadata;
  for (const char* key_name : {"attention.key_length", "attention.value_length"})
    numbers[at + key_name] = extra.rope_dim;  // what turns
  numbers[at + "attention.head_count_kv"] = 1;
  ConfigReader reader(numbers, at);
  reader.known(std::array<std::string_view, 5>{
      "attention.kv_lora_rank", "attention.q_lora_rank", "attention.key_length_mla",
      "attention.value_length_mla", "rope.dimension_count"});
  Config config = TRY(llama::read_gguf(reader, tensors, true));
  config.output_bias = false;
  config.rope.attention_factor = 1;  // mscale over mscale_all_dim, which are equal in all of them
  const double log_multiplier = reader.number("rope.scaling.yarn_log_multiplier", 0);
  const double mscale =
      1 + log_multiplier * std::log(std::max(1.0, reader.number("rope.scaling.factor", 1)));
  extra.scale = static_cast<float>(mscale * mscale / std::sqrt(static_cast<double>(extra.q_dim())));
  if (config.experts.count == 0) return unsupported("a DeepSeek model without experts");
  read_gguf_experts(reader, tensors, config);
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

std::vector<WeightSpec> declare(const Config& config) {
  const Extra& more = extra(config);
  std::vector<WeightSpec> specs = llama::declare(config);
  std::erase_if(specs, [](const WeightSpec& spec) {
    return spec.part == Part::layer && (spec.slot == llama::kQuery || spec.slot == llama::kKey ||
                                        spec.slot == llama::kValue || spec.slot == llama::kOutput);
  });
  const int64_t d = config.hidden_size, heads = config.heads, latent = more.latent;
  for (int layer = 0; layer < config.layer_count; ++layer) {
    const auto one = [&](int slot, const char* name, const char* gguf, Shape shape) -> WeightSpec& {
      specs.push_back({Part::layer, layer, slot,
                       config.gguf
                           ? fmt::format("blk.{}.attn_{}.weight", layer, gguf)
                           : fmt::format("model.layers.{}.self_attn.{}.weight", layer, name),
                       std::move(shape)});
      return specs.back();
    };
    const auto bias = [&](int slot, const char* name, int64_t size) {
      if (config.output_bias)
        specs.push_back({Part::layer,
                         layer,
                         slot,
                         fmt::format("model.layers.{}.self_attn.{}.bias", layer, name),
                         {size}});
    };
    if (more.query_rank > 0) {
      one(kQueryDown, "q_a_proj", "q_a", {more.query_rank, d});
      bias(kQueryDownBias, "q_a_proj", more.query_rank);
      one(kQueryDownNorm, "q_a_layernorm", "q_a_norm", {more.query_rank});
      one(kQueryUp, "q_b_proj", "q_b", {heads * more.q_dim(), more.query_rank});
    } else {
      one(llama::kQuery, "q_proj", "q", {heads * more.q_dim(), d});
    }
    one(kLatent, "kv_a_proj_with_mqa", "kv_a_mqa", {latent + more.rope_dim, d});
    bias(kLatentBias, "kv_a_proj_with_mqa", latent + more.rope_dim);
    one(kLatentNorm, "kv_a_layernorm", "kv_a_norm", {latent});
    WeightSpec& key_up =
        one(kKeyUp, "kv_b_proj", more.fused ? "kv_b" : "k_b", {heads * latent, more.nope_dim});
    key_up.made = true;
    if (!more.fused) key_up.stored = {heads, latent, more.nope_dim};
    WeightSpec& value_up =
        one(kValueUp, "kv_b_proj", more.fused ? "kv_b" : "v_b", {heads * more.v_dim, latent});
    value_up.made = true;
    if (!more.fused) value_up.stored = {heads, more.v_dim, latent};
    one(llama::kOutput, "o_proj", "output", {d, heads * more.v_dim});
  }
  return specs;
}

// A float tensor of the shape and type that find_weight promises.
Result<HostTensor> converted(const WeightSpec& spec, const TensorFiles& files,
                             std::span<const float> values) {
  const DType dtype = TRY(find_weight(spec, files)).dtype;
  const auto bytes = std::make_shared<std::vector<std::byte>>(
      row_bytes(dtype, static_cast<int64_t>(values.size())));
  from_f32(dtype, values, bytes->data());
  return HostTensor{dtype, spec.shape, *bytes, bytes};
}

// llama.cpp keeps the two as they are used, a stack of heads each.
Result<HostTensor> read_apart(const WeightSpec& spec, const TensorFiles& files) {
  WeightSpec stored = spec;
  stored.made = false;
  stored.shape = spec.stored;
  stored.stored = {};
  const HostTensor tensor = TRY(read_weight(stored, files));
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  to_f32(tensor.dtype, tensor.bytes.data(), values);
  return converted(spec, files, values);
}

// kv_b_proj [heads * (nope + v), latent] as the two matrices that are used; block formats widened.
Result<HostTensor> read(const WeightSpec& spec, const Config& config, const TensorFiles& files) {
  const Extra& more = extra(config);
  const auto latent = static_cast<size_t>(more.latent), nope = static_cast<size_t>(more.nope_dim);
  const auto v = static_cast<size_t>(more.v_dim);
  if (!more.fused) return read_apart(spec, files);
  WeightSpec whole = spec;
  whole.made = false;
  whole.shape = {static_cast<int64_t>(config.heads) * (more.nope_dim + more.v_dim), more.latent};
  const HostTensor stored = TRY(read_weight(whole, files));
  std::vector<float> in(static_cast<size_t>(stored.elements()));
  to_f32(stored.dtype, stored.bytes.data(), in);
  std::vector<float> out;
  out.reserve(static_cast<size_t>(HostTensor{.shape = spec.shape}.elements()));
  for (size_t head = 0; head < static_cast<size_t>(config.heads); ++head) {
    const float* keys = in.data() + head * (nope + v) * latent;
    const float* values = keys + nope * latent;
    if (spec.slot == kValueUp) {
      out.insert(out.end(), values, values + v * latent);
    } else {
      for (size_t l = 0; l < latent; ++l)
        for (size_t i = 0; i < nope; ++i) out.push_back(keys[i * latent + l]);
    }
  }
  return converted(spec, files, out);
}

// Layers beyond the last predict several tokens at once; they are not used.
bool may_ignore(const Config& config, std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (name.starts_with(kPrefix)) {
    int layer = -1;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
    if (layer >= config.layer_count) return true;
  }
  return llama::may_ignore(config, name);
}

KvSpec kv(const Config& config, int) {
  const Extra& more = extra(config);
  return {1, more.latent + more.rope_dim, more.latent, 0};
}

// Queries with their plain part brought into the space of the latent: [n, heads * (latent + rope)].
Tensor make_queries(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  const Extra& more = extra(config);
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  Tensor q;
  if (more.query_rank > 0) {
    const Tensor down =
        ops.matmul(x, weight(kQueryDown), step.weights.layer_or_null(layer, kQueryDownBias));
    q = ops.matmul(ops.rms_norm(down, weight(kQueryDownNorm), kLatentNormEps), weight(kQueryUp),
                   nullptr);
  } else {
    q = ops.matmul(x, weight(llama::kQuery), nullptr);
  }
  Tensor plain, turned;
  for (int head = 0; head < config.heads; ++head) {
    const int64_t at = static_cast<int64_t>(head) * more.q_dim();
    const Tensor a = ops.columns(q, at, more.nope_dim);
    const Tensor b = ops.columns(q, at + more.nope_dim, more.rope_dim);
    plain = head == 0 ? a : ops.concat_columns(plain, a);
    turned = head == 0 ? b : ops.concat_columns(turned, b);
  }
  plain = ops.head_matmul(plain, weight(kKeyUp), config.heads);  // [n, heads * latent]
  turned = ops.rope(turned, step.positions, config.rope);        // [n, heads * rope]
  Tensor out;
  for (int head = 0; head < config.heads; ++head) {
    const Tensor one = ops.concat_columns(
        ops.columns(plain, static_cast<int64_t>(head) * more.latent, more.latent),
        ops.columns(turned, static_cast<int64_t>(head) * more.rope_dim, more.rope_dim));
    out = head == 0 ? one : ops.concat_columns(out, one);
  }
  return out;
}

Tensor attend(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  const Extra& more = extra(config);
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const Tensor q = make_queries(step, layer, x);
  const Tensor down = ops.matmul(
      x, weight(kLatent), step.weights.layer_or_null(layer, kLatentBias));  // [n, latent + rope]
  const Tensor latent =
      ops.rms_norm(ops.columns(down, 0, more.latent), weight(kLatentNorm), kLatentNormEps);
  const Tensor key =
      ops.rope(ops.columns(down, more.latent, more.rope_dim), step.positions, config.rope);
  KvLayer& cache = step.kv.layer(layer);
  ops.kv_write(cache, ops.concat_columns(latent, key), latent, step.spans);
  AttentionParams attention;
  attention.heads = config.heads;
  attention.kv_heads = 1;
  attention.k_dim = more.latent + more.rope_dim;
  attention.v_dim = more.latent;
  attention.scale = more.scale;
  const Tensor mixed = ops.attention(q, cache, step.spans, attention);  // [n, heads * latent]
  return ops.head_matmul(mixed, weight(kValueUp), config.heads);        // [n, heads * v]
}

Tensor layer(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const Tensor normed = ops.rms_norm(x, weight(llama::kAttentionNorm), config.norm_eps);
  const Tensor h = ops.matmul_add(x, attend(step, layer, normed), weight(llama::kOutput),
                                  step.weights.layer_or_null(layer, llama::kOutputBias));
  const Tensor in = ops.rms_norm(h, weight(llama::kMlpNorm), config.norm_eps);
  if (config.experts.in(layer)) return experts::mlp(step, layer, h, in);
  const Projection gate_up[] = {{&weight(llama::kGate)}, {&weight(llama::kUp)}};
  const std::vector<Tensor> inner = ops.matmuls(in, gate_up);
  return ops.matmul_add(h, ops.swiglu(inner[0], inner[1]), weight(llama::kDown), nullptr);
}

// llama.cpp's form: one key and value head as wide as the latent, the lengths of plain attention
// beside them.
Result<GgufForm> to_gguf(const Config& config, const JsonObject& json) {
  if (!config.rope.interleaved) return unsupported("GGUF cannot express 'rope_interleave' false");
  if (config.output_bias) return unsupported("GGUF cannot express 'attention_bias' of DeepSeek");
  GgufForm form = basic_gguf_form("deepseek2", config);
  Extra more = extra(config);
  more.fused = false;
  form.config.extra = more;
  JsonObject& keys = form.keys;
  keys["attention.key_length"] = more.latent + more.rope_dim;
  keys["attention.value_length"] = more.latent;
  keys["attention.key_length_mla"] = more.q_dim();
  keys["attention.value_length_mla"] = more.v_dim;
  keys["attention.kv_lora_rank"] = more.latent;
  if (more.query_rank > 0) keys["attention.q_lora_rank"] = more.query_rank;
  const ExpertsConfig& experts = config.experts;
  keys.erase("expert_shared_feed_forward_length");
  keys["expert_shared_count"] = experts.shared_width / experts.width;
  keys["expert_weights_scale"] = static_cast<double>(experts.route.scale);
  keys["expert_weights_norm"] = experts.route.renormalize;
  keys["expert_gating_func"] = experts.route.score == RouteParams::Score::sigmoid ? 2 : 1;
  if (experts.route.groups > 1) {
    keys["expert_group_count"] = experts.route.groups;
    keys["expert_group_used_count"] = experts.route.groups_used;
  }
  int leading = 0;
  while (leading < config.layer_count && !experts.in(leading)) ++leading;
  keys["leading_dense_block_count"] = leading;
  const JsonObject* rope = TRY(get_object(json, "rope_parameters"));
  if (rope == nullptr) rope = TRY(get_object(json, "rope_scaling"));
  if (rope != nullptr)
    if (const double all = TRY(get_number(*rope, "mscale_all_dim")).value_or(0); all > 0)
      keys["rope.scaling.yarn_log_multiplier"] = 0.1 * all;
  return form;
}

}  // namespace

const Architecture& arch_deepseek() {
  static const Architecture architecture{
      "deepseek", kNames,       kGgufNames, parse_config, parse_gguf, declare, may_ignore,
      kv,         llama::embed, layer,      llama::head,  read,       to_gguf};
  return architecture;
}

}  // namespace exo
