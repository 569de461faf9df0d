// gpt-oss (OpenAI 2025): attention with sinks and windows in every other layer, a mixture of
// experts with biases and a clamped SwiGLU, the experts in MXFP4.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "model/arch/llama.h"
#include "model/experts.h"
#include "model/kv_cache.h"
#include "model/weights.h"
#include "tensor/block_bytes.h"

namespace exo {
namespace {

enum Slot : int { kSinks = 64, kRouter, kRouterBias, kFirstExpert = 128 };
enum Part6 : int { kGate, kUp, kDown, kGateBias, kUpBias, kDownBias, kParts };

int slot_of(int expert, int part) { return kFirstExpert + expert * kParts + part; }
int expert_of(const WeightSpec& spec) { return (spec.slot - kFirstExpert) / kParts; }
int part_of(const WeightSpec& spec) { return (spec.slot - kFirstExpert) % kParts; }

constexpr std::array<std::string_view, 2> kNames = {"GptOssForCausalLM", "gpt_oss"};
constexpr std::array<std::string_view, 1> kGgufNames = {"gpt-oss"};
// For training, or older names of what is read.
constexpr std::array<std::string_view, 4> kUnread = {
    "experts_per_token", "initial_context_length", "output_router_logits", "router_aux_loss_coef"};
constexpr float kLimit = 7.0f;

Result<Config> parse_config(const JsonObject& json) {
  JsonObject numbers = json;  // with what absent keys mean
  if (!json.contains("rope_scaling") && !json.contains("rope_parameters"))
    numbers["rope_scaling"] = {{"rope_type", "yarn"},
                               {"factor", 32},
                               {"truncate", false},
                               {"original_max_position_embeddings", 4096}};
  ConfigReader reader(numbers);
  Config config = llama::read_config(reader, {.head_dim = 64,
                                              .kv_heads = 8,
                                              .context_length = 131072,
                                              .norm_eps = 1e-5,
                                              .rope_theta = 150000});
  config.qkv_bias = config.output_bias = reader.flag("attention_bias", true);
  if (static_cast<float>(reader.number("swiglu_limit", kLimit)) != kLimit)
    reader.fail(unsupported("'swiglu_limit' other than 7 is not known here"));
  reader.known(kUnread);
  llama::read_layer_windows(
      reader, json, reader.size("sliding_window", 128), [](int layer) { return layer % 2 == 0; },
      config);
  config.experts.count = reader.size("num_local_experts", 128);
  config.experts.route.per_row = reader.size("num_experts_per_tok", 4);
  config.experts.route.renormalize = true;
  config.experts.width = config.intermediate_size;
  return llama::finish_config(reader, std::move(config));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "gpt-oss.");
  reader.known(std::array<std::string_view, 1>{"attention.sliding_window_pattern"});
  Config config = TRY(llama::read_gguf(reader, tensors, false));
  config.qkv_bias = config.output_bias = true;
  config.experts.route.renormalize = true;
  config.experts.plain.clear();
  const int window = reader.size("attention.sliding_window", 128);
  for (int layer = 0; layer < config.layer_count && layer < 1 << 12; ++layer)
    config.layer_windows.push_back(layer % 2 == 0 ? window : 0);
  return llama::finish_config(reader, std::move(config));
}

// One expert of GGUF's stacks, whose rows are in order.
void declare_gguf(const Config& config, int layer, int expert, std::vector<WeightSpec>& specs) {
  const int64_t d = config.hidden_size, ff = config.experts.width, count = config.experts.count;
  constexpr std::array<const char*, kParts> kTensors = {
      "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight",
      "ffn_gate_exps.bias",   "ffn_up_exps.bias",   "ffn_down_exps.bias"};
  for (int part = 0; part < kParts; ++part) {
    const int64_t outs = part % 3 == kDown ? d : ff, in = part % 3 == kDown ? ff : d;
    WeightSpec spec{Part::layer, layer, slot_of(expert, part),
                    fmt::format("blk.{}.{}", layer, kTensors[static_cast<size_t>(part)])};
    const bool bias = part >= kGateBias;
    spec.shape = bias ? Shape{outs} : Shape{outs, in};
    spec.stored = bias ? Shape{count, outs} : Shape{count, outs, in};
    spec.row_begin = bias ? expert : expert * outs;
    specs.push_back(std::move(spec));
  }
}

// Hugging Face's checkpoints interleave gate and up, and hold plain matrices transposed.
void declare_interleaved(const Config& config, int layer, int expert,
                         std::vector<WeightSpec>& specs) {
  const int64_t d = config.hidden_size, ff = config.experts.width;
  constexpr std::array<const char*, kParts> kTensors = {"gate_up_proj",      "gate_up_proj",
                                                        "down_proj",         "gate_up_proj_bias",
                                                        "gate_up_proj_bias", "down_proj_bias"};
  for (int part = 0; part < kParts; ++part) {
    WeightSpec spec{
        Part::layer, layer, slot_of(expert, part),
        fmt::format("model.layers.{}.mlp.experts.{}", layer, kTensors[static_cast<size_t>(part)])};
    const int64_t outs = part % 3 == kDown ? d : ff, in = part % 3 == kDown ? ff : d;
    spec.shape = part >= kGateBias ? Shape{outs} : Shape{outs, in};
    spec.made = true;
    specs.push_back(std::move(spec));
  }
}

std::vector<WeightSpec> declare(const Config& config) {
  Config dense = config;
  dense.experts = {};
  std::vector<WeightSpec> specs = llama::declare(dense);
  std::erase_if(specs, [](const WeightSpec& spec) {
    return spec.part == Part::layer &&
           (spec.slot == llama::kGate || spec.slot == llama::kUp || spec.slot == llama::kDown);
  });
  for (WeightSpec& spec : specs)
    if (config.gguf && spec.part == Part::layer && spec.slot == llama::kMlpNorm)
      spec.name = fmt::format("blk.{}.post_attention_norm.weight", spec.layer);
  const int64_t d = config.hidden_size, count = config.experts.count;
  for (int layer = 0; layer < config.layer_count; ++layer) {
    const auto one = [&](int slot, const char* hugging_face, const char* gguf, Shape shape) {
      specs.push_back({Part::layer, layer, slot,
                       config.gguf ? fmt::format("blk.{}.{}", layer, gguf)
                                   : fmt::format("model.layers.{}.{}", layer, hugging_face),
                       std::move(shape)});
    };
    one(kSinks, "self_attn.sinks", "attn_sinks.weight", {config.heads});
    one(kRouter, "mlp.router.weight", "ffn_gate_inp.weight", {count, d});
    one(kRouterBias, "mlp.router.bias", "ffn_gate_inp.bias", {count});
    for (int expert = 0; expert < count; ++expert)
      config.gguf ? declare_gguf(config, layer, expert, specs)
                  : declare_interleaved(config, layer, expert, specs);
  }
  return specs;
}

Error wrong_shape(const std::string& name) {
  return corrupt(fmt::format("the tensor '{}' does not have the shape the config asks for", name));
}

// Rows of MXFP4: the file's nibbles are in pairs of neighbours, ggml's are 16 apart.
Result<HostTensor> read_mxfp4(const WeightSpec& spec, const Config& config,
                              const TensorFiles& files, int64_t stored_rows, int64_t first,
                              int64_t step) {
  const HostTensor blocks = TRY(files.find(spec.name + "_blocks"));
  const HostTensor scales = TRY(files.find(spec.name + "_scales"));
  const int64_t count = config.experts.count, across = spec.shape[1] / 32;
  if (spec.shape[1] % 32 != 0 || blocks.dtype != DType::u8 || scales.dtype != DType::u8 ||
      blocks.shape != Shape{count, stored_rows, across, 16} ||
      scales.shape != Shape{count, stored_rows, across})
    return wrong_shape(spec.name + "_blocks");
  const auto packed = std::make_shared<std::vector<std::byte>>(
      row_bytes(DType::mxfp4, spec.shape[0] * spec.shape[1]));
  std::byte* out = packed->data();
  for (int64_t row = 0; row < spec.shape[0]; ++row) {
    const int64_t block = (expert_of(spec) * stored_rows + first + row * step) * across;
    const std::byte* in = blocks.bytes.data() + block * 16;
    for (int64_t b = 0; b < across; ++b, in += 16, out += 17) {
      out[0] = scales.bytes[static_cast<size_t>(block + b)];
      std::array<int, 32> numbers;
      for (size_t i = 0; i < 32; ++i)
        numbers[i] = std::to_integer<int>(in[i / 2]) >> (i % 2 * 4) & 15;
      put_nibbles(numbers, out + 1);
    }
  }
  return HostTensor{DType::mxfp4, spec.shape, *packed, packed};
}

// Element (row, column) of `spec` at first + row * row_step + column * column_step of `stored`.
HostTensor gather(const HostTensor& stored, const WeightSpec& spec, int64_t first, int64_t row_step,
                  int64_t column_step) {
  const auto size = static_cast<size_t>(traits(stored.dtype).block_bytes);
  const int64_t rows = spec.shape.size() == 1 ? 1 : spec.shape[0], columns = spec.shape.back();
  const auto bytes =
      std::make_shared<std::vector<std::byte>>(static_cast<size_t>(rows * columns) * size);
  std::byte* out = bytes->data();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column, out += size)
      std::memcpy(out,
                  stored.bytes.data() +
                      static_cast<size_t>(first + row * row_step + column * column_step) * size,
                  size);
  return {stored.dtype, spec.shape, *bytes, bytes};
}

Result<HostTensor> read(const WeightSpec& spec, const Config& config, const TensorFiles& files) {
  const int64_t d = config.hidden_size, ff = config.experts.width, count = config.experts.count;
  const int part = part_of(spec);
  const bool down = part % 3 == kDown;
  const int64_t outs = down ? d : 2 * ff, step = down ? 1 : 2, first = part % 3 == kUp ? 1 : 0;
  if (part < kGateBias && files.contains(spec.name + "_blocks"))
    return read_mxfp4(spec, config, files, outs, first, step);
  const HostTensor stored = TRY(files.find(spec.name));
  const int64_t in = down ? ff : d;
  if (traits(stored.dtype).block_size != 1 || stored.dtype == DType::f8_e4m3)
    return unsupported(fmt::format("'{}' of type {}", spec.name, traits(stored.dtype).name));
  if (part >= kGateBias) {
    if (stored.shape != Shape{count, outs}) return wrong_shape(spec.name);
    return gather(stored, spec, expert_of(spec) * outs + first, 0, step);
  }
  if (stored.shape != Shape{count, in, outs}) return wrong_shape(spec.name);
  return gather(stored, spec, expert_of(spec) * in * outs + first, step, outs);
}

bool may_ignore(const Config& config, std::string_view name) {
  return name.ends_with("_proj_blocks") || name.ends_with("_proj_scales") ||
         llama::may_ignore(config, name);
}

Tensor mlp(const StepContext& step, int layer, const Tensor& residual, const Tensor& x) {
  const ExpertsConfig& experts = step.config.experts;
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const Routing routing =
      ops.route(ops.matmul(x, weight(kRouter), &weight(kRouterBias)), experts.route);
  const auto run = [&](std::span<const experts::Share> shares, const Tensor& rows) {
    const auto project = [&](const Tensor& in, int part) {
      return experts::project(ops, shares, in, [&](int expert) {
        return Projection{&weight(slot_of(expert, part)),
                          &weight(slot_of(expert, part + kGateBias))};
      });
    };
    return project(ops.clamped_swiglu(project(rows, kGate), project(rows, kUp), kLimit), kDown);
  };
  return experts::dispatch(ops, routing, experts.count, x, residual, run);
}

Tensor layer(const StepContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const auto bias_or_null = [&](int slot) { return step.weights.layer_or_null(layer, slot); };
  const Tensor normed = ops.rms_norm(x, weight(llama::kAttentionNorm), config.norm_eps);
  const Projection qkv[] = {{&weight(llama::kQuery), bias_or_null(llama::kQueryBias)},
                            {&weight(llama::kKey), bias_or_null(llama::kKeyBias)},
                            {&weight(llama::kValue), bias_or_null(llama::kValueBias)}};
  const std::vector<Tensor> projected = ops.matmuls(normed, qkv);
  const Tensor q = ops.rope(projected[0], step.positions, config.rope);
  const Tensor k = ops.rope(projected[1], step.positions, config.rope);
  const Tensor& v = projected[2];
  AttentionParams attention;
  attention.heads = config.heads;
  attention.kv_heads = config.kv_heads;
  attention.k_dim = attention.v_dim = config.head_dim;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  attention.window = config.window_of(layer);
  attention.sinks = &weight(kSinks);
  KvLayer& cache = step.kv.layer(layer);
  ops.kv_write(cache, k, v, step.spans);
  const Tensor mixed = ops.attention(q, cache, step.spans, attention);
  const Tensor h =
      ops.matmul_add(x, mixed, weight(llama::kOutput), bias_or_null(llama::kOutputBias));
  return mlp(step, layer, h, ops.rms_norm(h, weight(llama::kMlpNorm), config.norm_eps));
}

Result<GgufForm> to_gguf(const Config& config, const JsonObject&) {
  if (!config.qkv_bias) return unsupported("GGUF cannot express 'attention_bias' false of gpt-oss");
  GgufForm form = basic_gguf_form("gpt-oss", config);
  add_window(form);
  return form;
}

}  // namespace

const Architecture& arch_gpt_oss() {
  static const Architecture architecture{
      "gpt_oss", kNames,       kGgufNames, parse_config, parse_gguf, declare, may_ignore,
      llama::kv, llama::embed, layer,      llama::head,  read,       to_gguf};
  return architecture;
}

}  // namespace exo
