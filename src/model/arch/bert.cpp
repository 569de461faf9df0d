// BERT (Devlin et al. 2018), as embedding models use it: an encoder, norms after each half of a
// layer, learnt positions and token types.
#include <fmt/core.h>

#include <array>
#include <cmath>

#include "model/config_reader.h"
#include "model/weights.h"

namespace exo {
namespace {

enum Slot : int {
  kQuery,
  kQueryBias,
  kKey,
  kKeyBias,
  kValue,
  kValueBias,
  kOutput,
  kOutputBias,
  kAttentionNorm,
  kAttentionNormBias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
  kNorm,
  kNormBias,
  // of the embedding and head parts
  kWords = 0,
  kPositions,
  kTokenTypes,
  kEmbeddingNorm,
  kEmbeddingNormBias,
  kPooler = 0,
  kPoolerBias,
};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config;
  config.layer_count = reader.size("num_hidden_layers", 12);
  config.hidden_size = reader.size("hidden_size", 768);
  config.intermediate_size = reader.size("intermediate_size", 3072);
  config.heads = config.kv_heads = reader.size("num_attention_heads", 12);
  config.head_dim = std::max(1, config.hidden_size / config.heads);
  config.vocab_size = reader.size("vocab_size", 30522);
  config.context_length = reader.size("max_position_embeddings", 512);
  config.norm_eps = static_cast<float>(reader.number("layer_norm_eps", 1e-12));
  config.token_types = reader.size("type_vocab_size", 2);
  config.extra = reader.gelu("hidden_act", "gelu");
  const std::string positions = reader.text("position_embedding_type", "absolute");
  if (positions != "absolute")
    reader.fail(unsupported(
        fmt::format("'position_embedding_type' is '{}'; known is 'absolute'", positions)));
  for (const char* key : {"is_decoder", "add_cross_attention", "is_encoder_decoder"})
    if (reader.flag(key, false))
      reader.fail(unsupported(fmt::format("'{}' is not known for BERT models", key)));
  reader.known(std::array<std::string_view, 9>{
      "attention_probs_dropout_prob", "hidden_dropout_prob", "directionality", "pooler_fc_size",
      "pooler_type", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head",
      "tie_word_embeddings"});
  reader.known_everywhere();
  TRY(reader.finish());
  if (config.layer_count > 1 << 12 || config.hidden_size > 1 << 20 ||
      config.intermediate_size > 1 << 24)
    return invalid_argument("the sizes of the model are out of range");
  if (config.hidden_size % config.heads != 0)
    return invalid_argument(
        fmt::format("{} attention heads cannot share {} values", config.heads, config.hidden_size));
  if (!(config.norm_eps >= 0 && config.norm_eps < 1))
    return invalid_argument("the epsilon of the norms is out of range");
  return config;
}

void declare_layer(const Config& config, int layer, std::vector<WeightSpec>& specs) {
  const int64_t d = config.hidden_size, ff = config.intermediate_size;
  const auto pair = [&](Slot slot, const char* name, Shape shape, SplitAxis split) {
    const std::string base = fmt::format("encoder.layer.{}.{}.", layer, name);
    const Shape bias{shape.front()};
    specs.push_back({Part::layer, layer, slot, base + "weight", std::move(shape), split});
    specs.push_back({Part::layer, layer, slot + 1, base + "bias", bias,
                     split == SplitAxis::rows ? split : SplitAxis::none});
  };
  using enum SplitAxis;
  pair(kQuery, "attention.self.query", {d, d}, rows);
  pair(kKey, "attention.self.key", {d, d}, rows);
  pair(kValue, "attention.self.value", {d, d}, rows);
  pair(kOutput, "attention.output.dense", {d, d}, columns);
  pair(kAttentionNorm, "attention.output.LayerNorm", {d}, none);
  pair(kUp, "intermediate.dense", {ff, d}, rows);
  pair(kDown, "output.dense", {d, ff}, columns);
  pair(kNorm, "output.LayerNorm", {d}, none);
}

std::vector<WeightSpec> declare(const Config& config) {
  std::vector<WeightSpec> specs;
  const int64_t d = config.hidden_size;
  const auto one = [&](Part part, Slot slot, const char* name, Shape shape) {
    specs.push_back({part, 0, slot, name, std::move(shape)});
    specs.back().optional = part == Part::head;
  };
  const Part first = Part::embedding;
  one(first, kWords, "embeddings.word_embeddings.weight", {config.vocab_size, d});
  one(first, kPositions, "embeddings.position_embeddings.weight", {config.context_length, d});
  one(first, kTokenTypes, "embeddings.token_type_embeddings.weight", {config.token_types, d});
  one(first, kEmbeddingNorm, "embeddings.LayerNorm.weight", {d});
  one(first, kEmbeddingNormBias, "embeddings.LayerNorm.bias", {d});
  for (int layer = 0; layer < config.layer_count; ++layer) declare_layer(config, layer, specs);
  one(Part::head, kPooler, "pooler.dense.weight", {d, d});
  one(Part::head, kPoolerBias, "pooler.dense.bias", {d});
  return specs;
}

bool may_ignore(const Config&, std::string_view name) { return name == "embeddings.position_ids"; }

KvSpec kv(const Config&, int) { return {}; }

Tensor layer(const EncodeContext& step, int layer, const Tensor& x) {
  const Config& config = step.config;
  Ops& ops = step.ops;
  const auto weight = [&](int slot) -> const Tensor& { return step.weights.layer(layer, slot); };
  const auto linear = [&](const Tensor& in, Slot slot) {
    return ops.matmul(in, weight(slot), &weight(slot + 1));
  };
  const auto norm = [&](const Tensor& in, Slot slot) {
    return ops.layer_norm(in, weight(slot), weight(slot + 1), config.norm_eps);
  };
  AttentionParams attention;
  attention.heads = attention.kv_heads = config.heads;
  attention.k_dim = attention.v_dim = config.head_dim;
  attention.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  const Tensor mixed = ops.attend_all(linear(x, kQuery), linear(x, kKey), linear(x, kValue),
                                      step.spans, attention);  // [n, d]
  const Tensor h =
      norm(ops.matmul_add(x, mixed, weight(kOutput), &weight(kOutputBias)), kAttentionNorm);
  const Tensor up = ops.gelu(linear(h, kUp), std::any_cast<Gelu>(config.extra));  // [n, ff]
  return norm(ops.matmul_add(h, up, weight(kDown), &weight(kDownBias)), kNorm);
}

Tensor encode(const EncodeContext& step, std::span<const TokenId> ids) {
  const Weights& w = step.weights;
  Ops& ops = step.ops;
  Tensor x = ops.add(ops.embed(w.embedding(kWords), ids),
                     ops.embed(w.embedding(kTokenTypes), step.token_types));
  x = ops.add(x, ops.embed(w.embedding(kPositions), step.positions));  // [n, d]
  x = ops.layer_norm(x, w.embedding(kEmbeddingNorm), w.embedding(kEmbeddingNormBias),
                     step.config.norm_eps);
  for (int i = 0; i < step.config.layer_count; ++i) x = layer(step, i, x);
  return x;
}

Tensor pool(const EncodeContext& step, const Tensor& x) {
  const Weights& w = step.weights;
  if (w.head(kPooler).empty() || w.head(kPoolerBias).empty()) return {};
  return step.ops.soft_cap(step.ops.matmul(x, w.head(kPooler), &w.head(kPoolerBias)), 1);  // tanh
}

constexpr std::array<std::string_view, 2> kNames = {"BertModel", "bert"};

}  // namespace

const Architecture& arch_bert() {
  static const Architecture architecture{.family = "bert",
                                         .names = kNames,
                                         .gguf_names = {},
                                         .parse_config = parse_config,
                                         .parse_gguf = nullptr,
                                         .declare = declare,
                                         .may_ignore = may_ignore,
                                         .kv = kv,
                                         .embed = nullptr,
                                         .layer = nullptr,
                                         .head = nullptr,
                                         .encode = encode,
                                         .pool = pool};
  return architecture;
}

}  // namespace exo
