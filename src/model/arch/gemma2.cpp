// Gemma 2 (Gemma Team 2024), and what Gemma 3 has of it.
#include <fmt/core.h>

#include <array>
#include <cmath>

#include "model/arch/gemma.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace exo {
namespace gemma {
namespace {

// Beside Llama's slots: the norms of what a half has made, before it is added.
enum Slot : int { kAfterAttention = 64, kAfterMlp };

struct NormName {
  int slot;
  const char* hugging_face;
  const char* gguf;
};
constexpr std::array kNorms = {
    NormName{kAfterAttention, "post_attention_layernorm.weight", "post_attention_norm.weight"},
    NormName{llama::kMlpNorm, "pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    NormName{kAfterMlp, "post_feedforward_layernorm.weight", "post_ffw_norm.weight"}};

bool is_norm(const WeightSpec& spec) {
  if (spec.part == Part::head) return spec.slot == llama::kFinalNorm;
  if (spec.part == Part::embedding) return false;
  return spec.slot == llama::kAttentionNorm || spec.slot == llama::kMlpNorm ||
         spec.slot == llama::kQueryNorm || spec.slot == llama::kKeyNorm ||
         spec.slot == kAfterAttention || spec.slot == kAfterMlp;
}

Tensor attend(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  const Extra& more = extra(config);
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const bool local = config.window_of(layer) > 0 && more.local_rope.head_dim > 0;
  const auto turned = [&](Tensor y, int norm) {
    if (config.qk_norm) y = ops.rms_norm(y, weight(norm), config.norm_eps);
    return ops.rope(y, step.positions, local ? more.local_rope : config.rope);
  };
  const Tensor normed = ops.rms_norm(x, weight(llama::kAttentionNorm), config.norm_eps);
  const Projection qkv[] = {
      {&weight(llama::kQuery)}, {&weight(llama::kKey)}, {&weight(llama::kValue)}};
  const std::vector<Tensor> projected = ops.matmuls(normed, qkv);
  const Tensor q = turned(projected[0], llama::kQueryNorm);
  const Tensor k = turned(projected[1], llama::kKeyNorm);
  const Tensor& v = projected[2];
  AttentionParams attention;
  attention.heads = config.heads;
  attention.kv_heads = config.kv_heads;
  attention.k_dim = attention.v_dim = config.head_dim;
  attention.scale = 1.0f / std::sqrt(more.query_scalar);
  attention.window = config.window_of(layer);
  attention.soft_cap = more.attention_cap;
  KvLayer& cache = step.kv.layer(layer);
  ops.kv_write(cache, k, v, step.spans);
  return ops.matmul(ops.attention(q, cache, step.spans, attention), weight(llama::kOutput),
                    nullptr);
}

}  // namespace

const Extra& extra(const Config& config) { return std::any_cast<const Extra&>(config.extra); }

Result<GgufForm> to_gguf(std::string_view architecture, const Config& config) {
  GgufForm form = basic_gguf_form(architecture, config);
  const int largest = architecture == "gemma2" ? 46 : 62;
  const float assumed = config.layer_count == largest
                            ? static_cast<float>(config.hidden_size) / config.heads
                            : static_cast<float>(config.head_dim);
  if (extra(config).query_scalar != assumed)
    return unsupported(
        fmt::format("GGUF cannot express a 'query_pre_attn_scalar' of {} ({} is "
                    "what its readers take)",
                    extra(config).query_scalar, assumed));
  add_window(form);
  return form;
}

std::vector<WeightSpec> declare(const Config& config) {
  std::vector<WeightSpec> specs = llama::declare(config);
  std::erase_if(specs, [](const WeightSpec& spec) {
    return spec.part == Part::layer && spec.slot == llama::kMlpNorm;
  });
  for (int layer = 0; layer < config.layer_count; ++layer) {
    for (const NormName& norm : kNorms) {
      WeightSpec spec{.part = Part::layer, .layer = layer, .slot = norm.slot};
      spec.name = config.gguf ? fmt::format("blk.{}.{}", layer, norm.gguf)
                              : fmt::format("model.layers.{}.{}", layer, norm.hugging_face);
      spec.shape = {config.hidden_size};
      specs.push_back(std::move(spec));
    }
  }
  for (WeightSpec& spec : specs)
    if (!config.gguf && is_norm(spec)) spec.offset = 1;
  return specs;
}

bool may_ignore(const Config& config, std::string_view name) {
  return llama::may_ignore(config, name);
}

Tensor embed(const StepContext& step, std::span<const TokenId> ids) {
  return step.ops.scale(llama::embed(step, ids),
                        std::sqrt(static_cast<float>(step.config.hidden_size)));
}

Tensor layer(const StepContext& step, int layer, const Tensor& x) {
  const float eps = step.config.norm_eps;
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const Tensor mixed = attend(step, layer, x);
  const Tensor h = ops.add(x, ops.rms_norm(mixed, weight(kAfterAttention), eps));
  const Tensor in = ops.rms_norm(h, weight(llama::kMlpNorm), eps);
  const Projection gate_up[] = {{&weight(llama::kGate)}, {&weight(llama::kUp)}};
  const std::vector<Tensor> both = ops.matmuls(in, gate_up);
  const Tensor inner = ops.multiply(ops.gelu(both[0], Gelu::tanh), both[1]);
  const Tensor out = ops.matmul(inner, weight(llama::kDown), nullptr);
  return ops.add(h, ops.rms_norm(out, weight(kAfterMlp), eps));
}

Tensor head(const StepContext& step, const Tensor& x) {
  const Tensor logits = llama::head(step, x);
  const float cap = extra(step.config).logit_cap;
  return cap > 0 ? step.ops.soft_cap(logits, cap) : logits;
}

}  // namespace gemma

namespace {

constexpr std::array<std::string_view, 2> kNames = {"Gemma2ForCausalLM", "gemma2"};
constexpr std::array<std::string_view, 1> kGgufNames = {"gemma2"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  // 'hidden_act' is an older name that Hugging Face's code no longer reads.
  reader.known(std::array<std::string_view, 2>{"hidden_act", "cache_implementation"});
  Config config = llama::read_config(reader, {.activation_key = "hidden_activation",
                                              .activation = "gelu_pytorch_tanh",
                                              .head_dim = 256,
                                              .kv_heads = 4,
                                              .context_length = 8192,
                                              .tied_embeddings = true});
  gemma::Extra extra;
  extra.query_scalar = static_cast<float>(reader.number("query_pre_attn_scalar", 256));
  const auto cap = [&](const char* key, double when_absent) {  // null means none
    return static_cast<float>(reader.number(key, reader.present(key) ? 0 : when_absent));
  };
  extra.attention_cap = cap("attn_logit_softcapping", 50);
  extra.logit_cap = cap("final_logit_softcapping", 30);
  for (const char* key : {"attention_bias", "use_bidirectional_attention"})
    if (reader.flag(key, false))
      reader.fail(unsupported(fmt::format("'{}' is not known for Gemma models", key)));
  llama::read_layer_windows(
      reader, json, reader.size("sliding_window", 4096), [](int layer) { return layer % 2 == 0; },
      config);
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

// Google's own numbers, which llama.cpp's files leave out: 27B alone divides by its width per head.
Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "gemma2.");
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  gemma::Extra extra;
  const bool largest = config.layer_count == 46;
  extra.query_scalar = largest ? static_cast<float>(config.hidden_size) / config.heads
                               : static_cast<float>(config.head_dim);
  extra.attention_cap = static_cast<float>(reader.number("attn_logit_softcapping", 50));
  extra.logit_cap = static_cast<float>(reader.number("final_logit_softcapping", 30));
  const int window = reader.size("attention.sliding_window", 4096);
  for (int layer = 0; layer < config.layer_count && layer < 1 << 12; ++layer)
    config.layer_windows.push_back(layer % 2 == 0 ? window : 0);
  config.extra = extra;
  return llama::finish_config(reader, std::move(config));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  GgufForm form = TRY(gemma::to_gguf("gemma2", config));
  form.keys["attn_logit_softcapping"] = static_cast<double>(gemma::extra(config).attention_cap);
  form.keys["final_logit_softcapping"] = static_cast<double>(gemma::extra(config).logit_cap);
  return form;
}

}  // namespace

const Architecture& arch_gemma2() {
  static const Architecture architecture{
      "gemma2",     kNames,         kGgufNames,        parse_config,
      parse_gguf,   gemma::declare, gemma::may_ignore, llama::kv,
      gemma::embed, gemma::layer,   gemma::head,       nullptr,
      to_gguf};
  return architecture;
}

}  // namespace exo
