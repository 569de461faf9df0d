#include "model/gguf_form.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "model/rope_scaling.h"

namespace exo {
namespace {

void add_experts(const ExpertsConfig& experts, JsonObject& keys) {
  if (experts.count == 0) return;
  keys["expert_count"] = experts.count;
  keys["expert_used_count"] = experts.route.per_row;
  keys["expert_feed_forward_length"] = experts.width;
  if (experts.shared_width > 0) keys["expert_shared_feed_forward_length"] = experts.shared_width;
}

void add_rope(const Config& config, GgufForm& form) {
  const RopeOrigin& origin = config.rope_origin;
  JsonObject& keys = form.keys;
  keys["rope.dimension_count"] = config.rope.rotary_dims;
  keys["rope.freq_base"] = origin.theta;
  if (origin.scaling == "linear" || origin.scaling == "yarn") {
    keys["rope.scaling.type"] = origin.scaling;
    keys["rope.scaling.factor"] = origin.factor;
  }
  if (origin.scaling == "yarn") {
    keys["rope.scaling.original_context_length"] = static_cast<int64_t>(origin.original_context);
    keys["rope.scaling.yarn_beta_fast"] = origin.beta_fast;
    keys["rope.scaling.yarn_beta_slow"] = origin.beta_slow;
    // Our own key: llama.cpp always truncates, also for gpt-oss, whose config says not to.
    if (!origin.truncate) keys["rope.scaling.yarn_truncate"] = false;
  }
  if (origin.scaling != "llama3") return;
  std::vector<float> factors;
  const std::vector<double> plain = rope_frequencies(origin.theta, config.rope.rotary_dims);
  for (size_t i = 0; i < plain.size(); ++i)
    factors.push_back(static_cast<float>(plain[i] / config.rope.inverse_freqs[i]));
  form.tensors.emplace_back("rope_freqs.weight", std::move(factors));
}

bool close(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::fabs(x - y) <= 1e-5f * std::max(std::fabs(x), std::fabs(y));
  });
}
bool close(float a, float b) { return close(std::vector{a}, std::vector{b}); }

// What two descriptions of a network disagree in; empty when in nothing.
std::string difference(const Config& a, const Config& b) {
  if (a.layer_count != b.layer_count || a.hidden_size != b.hidden_size || a.heads != b.heads ||
      a.kv_heads != b.kv_heads || a.head_dim != b.head_dim || a.vocab_size != b.vocab_size)
    return "sizes";
  if (!close(a.norm_eps, b.norm_eps)) return "norm epsilon";
  if (a.tied_embeddings != b.tied_embeddings) return "output matrix";
  if (a.qkv_bias != b.qkv_bias || a.output_bias != b.output_bias || a.mlp_bias != b.mlp_bias)
    return "biases";
  if (a.qk_norm != b.qk_norm) return "norms of queries and keys";
  for (int layer = 0; layer < a.layer_count; ++layer) {
    if (a.window_of(layer) != b.window_of(layer)) return "attention windows";
    if (a.experts.in(layer) != b.experts.in(layer)) return "layers with experts";
  }
  if (a.far_beyond != b.far_beyond || !close(a.far_rope.inverse_freqs, b.far_rope.inverse_freqs) ||
      a.rope.rotary_dims != b.rope.rotary_dims ||
      !close(a.rope.inverse_freqs, b.rope.inverse_freqs) ||
      !close(a.rope.attention_factor, b.rope.attention_factor))
    return "rotary embedding";
  const RouteParams &x = a.experts.route, &y = b.experts.route;
  if (a.experts.count == 0 && b.experts.count == 0) return "";
  if (a.experts.count != b.experts.count || a.experts.width != b.experts.width ||
      a.experts.shared_width != b.experts.shared_width ||
      a.experts.shared_gated != b.experts.shared_gated ||
      a.experts.route_bias != b.experts.route_bias || x.per_row != y.per_row ||
      x.score != y.score || x.renormalize != y.renormalize || !close(x.scale, y.scale) ||
      x.groups != y.groups || x.groups_used != y.groups_used)
    return "routing of experts";
  return "";
}

}  // namespace

GgufForm basic_gguf_form(std::string_view architecture, const Config& config) {
  GgufForm form;
  form.architecture = architecture;
  form.config = config;
  form.config.gguf = true;
  JsonObject& keys = form.keys;
  keys["block_count"] = config.layer_count;
  keys["context_length"] = config.context_length;
  keys["embedding_length"] = config.hidden_size;
  keys["feed_forward_length"] = config.intermediate_size;
  keys["attention.head_count"] = config.heads;
  keys["attention.head_count_kv"] = config.kv_heads;
  keys["attention.key_length"] = config.head_dim;
  keys["attention.value_length"] = config.head_dim;
  keys["attention.layer_norm_rms_epsilon"] = static_cast<double>(config.norm_eps);
  keys["vocab_size"] = config.vocab_size;
  add_rope(config, form);
  add_experts(config.experts, keys);
  return form;
}

void add_window(GgufForm& form) {
  for (int layer = 0; layer < form.config.layer_count; ++layer)
    if (const int window = form.config.window_of(layer); window > 0)
      form.keys["attention.sliding_window"] = window;
}

PlannedFiles::PlannedFiles(const GgufForm& form) {
  metadata_["general.architecture"] = form.architecture;
  for (const auto& [key, value] : form.keys)
    metadata_[form.architecture + "." + std::string(key)] = value;
  for (const auto& [name, values] : form.tensors) {
    add(name, {DType::f32, {static_cast<int64_t>(values.size())}});
    values_[name] = values;
  }
}

std::vector<std::string> PlannedFiles::names() const {
  std::vector<std::string> all;
  for (const auto& [name, info] : infos_) all.push_back(name);
  return all;
}

Result<TensorInfo> PlannedFiles::describe(std::string_view name) const {
  const auto found = infos_.find(name);
  if (found == infos_.end()) return not_found(fmt::format("there is no tensor '{}'", name));
  return found->second;
}

Result<HostTensor> PlannedFiles::find(std::string_view name) const {
  const TensorInfo info = TRY(describe(name));
  const auto values = values_.find(name);
  HostTensor tensor{info.dtype, info.shape, {}, nullptr};
  if (values != values_.end()) tensor.bytes = std::as_bytes(std::span(values->second));
  return tensor;
}

Result<void> check_gguf_form(const GgufForm& form, const Config& config,
                             const PlannedFiles& files) {
  const Architecture* reader = TRY(find_gguf_architecture(form.architecture));
  const Config read = TRY(reader->parse_gguf(files.metadata(), files));
  const std::string other = difference(config, read);
  if (other.empty()) return {};
  return unsupported(fmt::format("GGUF's keys for '{}' cannot express the {} of this model",
                                 form.architecture, other));
}

}  // namespace exo
