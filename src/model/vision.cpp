#include "model/vision.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <numeric>

#include "model/config_reader.h"
#include "model/weights.h"

namespace exo::vision {
namespace {

// Slots of the embedding part; those below are the text model's. A bias follows its weight.
enum Slot : int {
  kPatches = 8,
  kClass,
  kPositions,
  kPreNorm,
  kPreNormBias,
  kProjectIn,
  kProjectInBias,
  kProjectOut,
  kProjectOutBias,
  kLayers = 32,
};
// Of a layer, from kLayers + layer * kLayerSlots on.
enum LayerSlot : int {
  kNorm1,
  kNorm1Bias,
  kQuery,
  kQueryBias,
  kKey,
  kKeyBias,
  kValue,
  kValueBias,
  kOutput,
  kOutputBias,
  kNorm2,
  kNorm2Bias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
  kLayerSlots,
};

// As hub checkpoints call it, and with the prefixes that other versions of transformers wrote.
constexpr std::string_view kTower = "vision_tower.vision_model.";
constexpr std::string_view kOtherTowers[] = {"model.vision_tower.vision_model.",
                                             "model.vision_tower.", "vision_tower."};

class Declaration {
 public:
  Declaration(bool gguf, std::vector<WeightSpec>& specs) : gguf_(gguf), specs_(specs) {}

  WeightSpec& tower(int slot, std::string_view name, std::string_view gguf, Shape shape) {
    WeightSpec& spec = add(slot, std::string(gguf_ ? gguf : kTower), std::move(shape));
    if (gguf_) return spec;
    spec.name += name;
    for (const std::string_view other : kOtherTowers)
      spec.other_names.push_back(std::string(other) + std::string(name));
    return spec;
  }
  void tower_pair(int slot, const std::string& name, const std::string& gguf, Shape shape) {
    const Shape bias{shape.front()};
    tower(slot, name + ".weight", gguf + ".weight", std::move(shape));
    tower(slot + 1, name + ".bias", gguf + ".bias", bias);
  }
  void projector(int slot, const std::string& name, const std::string& gguf, Shape shape) {
    const std::string known = "multi_modal_projector." + name;
    WeightSpec& spec = add(slot, gguf_ ? gguf : known, std::move(shape));
    if (!gguf_) spec.other_names = {"model." + known};
  }

 private:
  WeightSpec& add(int slot, std::string name, Shape shape) {
    specs_.push_back({Part::embedding, 0, slot, std::move(name), std::move(shape)});
    specs_.back().as_stored = true;  // little to win, and pictures suffer first
    return specs_.back();
  }
  bool gguf_;
  std::vector<WeightSpec>& specs_;
};

void declare_layer(const VisionConfig& vision, int layer, Declaration& to) {
  const int64_t d = vision.hidden_size, ff = vision.intermediate_size;
  const auto pair = [&](LayerSlot slot, const char* name, const char* gguf, Shape shape) {
    to.tower_pair(kLayers + layer * kLayerSlots + slot,
                  fmt::format("encoder.layers.{}.{}", layer, name),
                  fmt::format("v.blk.{}.{}", layer, gguf), std::move(shape));
  };
  pair(kNorm1, "layer_norm1", "ln1", {d});
  pair(kQuery, "self_attn.q_proj", "attn_q", {d, d});
  pair(kKey, "self_attn.k_proj", "attn_k", {d, d});
  pair(kValue, "self_attn.v_proj", "attn_v", {d, d});
  pair(kOutput, "self_attn.out_proj", "attn_out", {d, d});
  pair(kNorm2, "layer_norm2", "ln2", {d});
  pair(kUp, "mlp.fc1", vision.swapped_mlp ? "ffn_down" : "ffn_up", {ff, d});
  pair(kDown, "mlp.fc2", vision.swapped_mlp ? "ffn_up" : "ffn_down", {d, ff});
}

// "encoder.layers.3.mlp.fc1.bias" -> 3; -1 when it is no layer's.
int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "encoder.layers.";
  if (!name.starts_with(kPrefix)) return -1;
  name.remove_prefix(kPrefix.size());
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  return error == std::errc() && end != name.data() + name.size() && *end == '.' ? layer : -1;
}

// Pixels of "size" or "crop_size": a number, or an object that says it; nothing when absent.
std::optional<int64_t> side_of(const JsonObject& json, std::string_view key) {
  const Json* value = find_value(json, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (!value->is_object()) return -1;
  const JsonObject& sides = value->get_object();
  const auto at = [&](const char* name) -> int64_t {
    const Json* side = find_value(sides, name);
    return side != nullptr && side->is_int64() ? side->get_int64() : -1;
  };
  if (key == "size") return at("shortest_edge");
  return at("height") == at("width") ? at("height") : -1;
}

Result<void> read_channels(const JsonObject& json, std::string_view key,
                           std::array<float, 3>& channels) {
  const JsonArray* values = TRY(get_array(json, key));
  if (values == nullptr) return {};
  for (size_t i = 0; i < channels.size(); ++i) {
    boost::json::error_code error;
    if (values->size() != channels.size() || !(*values)[i].is_number())
      return invalid_argument(fmt::format("'{}' is not three numbers", key));
    channels[i] = static_cast<float>((*values)[i].to_number<double>(error));
    if (error || !std::isfinite(channels[i]))
      return invalid_argument(fmt::format("'{}' is out of range", key));
  }
  return {};
}

Result<void> check_steps(const JsonObject& json, const VisionConfig& vision) {
  const std::string type = TRY(get_string(json, "image_processor_type")).value_or("CLIP");
  if (!type.starts_with("CLIP"))
    return unsupported(fmt::format("'image_processor_type' {} is not known here", type));
  for (const char* key : {"do_resize", "do_center_crop"})
    if (!TRY(get_bool(json, key)).value_or(true))
      return unsupported(fmt::format("'{}' is off, which is not known here", key));
  if (TRY(get_bool(json, "do_pad")).value_or(false))
    return unsupported("'do_pad' is on, which is not known here");
  if (const auto resample = TRY(get_int(json, "resample")); resample.value_or(3) != 3)
    return unsupported(fmt::format("'resample' {} is not known; 3 (bicubic) is", *resample));
  for (const char* key : {"size", "crop_size"})
    if (side_of(json, key).value_or(vision.image_size) != vision.image_size)
      return unsupported(
          fmt::format("'{}' is not the square of {} pixels that the tower takes, by its short edge",
                      key, vision.image_size));
  return {};
}

}  // namespace

void declare(const Config& config, std::vector<WeightSpec>& specs) {
  const VisionConfig& vision = *config.vision;
  Declaration to(config.gguf, specs);
  const int64_t d = vision.hidden_size, side = vision.patch_size;
  to.tower(kPatches, "embeddings.patch_embedding.weight", "v.patch_embd.weight",
           {d, 3 * side * side})
      .stored = {d, 3, side, side};
  to.tower(kClass, "embeddings.class_embedding", "v.class_embd", {1, d}).stored = {d};
  to.tower(kPositions, "embeddings.position_embedding.weight", "v.position_embd.weight",
           {vision.patches() + 1, d});
  to.tower_pair(kPreNorm, "pre_layrnorm", "v.pre_ln", {d});
  for (int layer = 0; layer < vision.layer_count; ++layer) declare_layer(vision, layer, to);
  const int64_t in = d * static_cast<int64_t>(vision.feature_layers.size());
  const int64_t out = config.hidden_size;
  to.projector(kProjectIn, "linear_1.weight", "mm.0.weight", {out, in});
  to.projector(kProjectOut, "linear_2.weight", "mm.2.weight", {out, out});
  if (!vision.projector_bias) return;
  to.projector(kProjectInBias, "linear_1.bias", "mm.0.bias", {out});
  to.projector(kProjectOutBias, "linear_2.bias", "mm.2.bias", {out});
}

bool may_ignore(const Config& config, std::string_view name) {
  std::string_view rest;
  if (config.gguf) return name.starts_with("v.post_ln.");
  for (const std::string_view prefix : kOtherTowers)
    if (name.starts_with(prefix) && rest.empty()) rest = name.substr(prefix.size());
  if (name.starts_with(kTower)) rest = name.substr(kTower.size());
  return rest == "embeddings.position_ids" || rest.starts_with("post_layernorm.") ||
         layer_of(rest) >= config.vision->layer_count;
}

Result<void> read_preprocessor(const JsonObject& json, VisionConfig& vision) {
  TRY(check_steps(json, vision));
  if (TRY(get_bool(json, "do_rescale")).value_or(true))
    vision.pixel_scale = TRY(get_number(json, "rescale_factor")).value_or(vision.pixel_scale);
  else
    vision.pixel_scale = 1;
  if (!TRY(get_bool(json, "do_normalize")).value_or(true)) {
    vision.pixel_mean = {0, 0, 0};
    vision.pixel_deviation = {1, 1, 1};
    return {};
  }
  TRY(read_channels(json, "image_mean", vision.pixel_mean));
  TRY(read_channels(json, "image_std", vision.pixel_deviation));
  for (const float deviation : vision.pixel_deviation)
    if (deviation == 0) return invalid_argument("'image_std' holds a zero");
  return {};
}

Result<void> check_image(const VisionConfig& vision, const Image& image) {
  const auto side = static_cast<size_t>(vision.image_size);
  if (image.width == vision.image_size && image.height == vision.image_size &&
      image.rgb.size() == side * side * 3)
    return {};
  return invalid_argument(fmt::format("a picture of {} x {} pixels where the model takes {} x {}",
                                      image.width, image.height, side, side));
}

std::vector<float> pixels(const VisionConfig& vision, const Image& image) {
  const int side = vision.patch_size, across = vision.image_size / side;
  std::vector<float> values;
  values.reserve(static_cast<size_t>(vision.patches()) * static_cast<size_t>(3 * side * side));
  for (int patch = 0; patch < vision.patches(); ++patch)
    for (size_t channel = 0; channel < 3; ++channel)
      for (int i = 0; i < side * side; ++i) {
        const int y = patch / across * side + i / side, x = patch % across * side + i % side;
        const size_t at = 3 * static_cast<size_t>(y * image.width + x) + channel;
        // In float32 after the scale, as Hugging Face's code has it.
        const auto scaled = static_cast<float>(image.rgb[at] * vision.pixel_scale);
        values.push_back((scaled - vision.pixel_mean[channel]) / vision.pixel_deviation[channel]);
      }
  return values;
}

namespace {

struct Tower {
  const VisionConfig& vision;
  const Weights& weights;
  Ops& ops;

  const Tensor& weight(int slot) const { return weights.embedding(slot); }
  Tensor linear(const Tensor& x, int slot) const {
    const Tensor& bias = weight(slot + 1);
    return ops.matmul(x, weight(slot), bias.empty() ? nullptr : &bias);
  }
  Tensor norm(const Tensor& x, int slot) const {
    return ops.layer_norm(x, weight(slot), weight(slot + 1), vision.norm_eps);
  }

  // The class row, then a row for each patch, each at its position.
  Tensor embed(const Tensor& pixels) const {
    std::vector<int32_t> rows(static_cast<size_t>(vision.patches()) + 1);
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<float> ones(rows.size(), 1.0f);
    const std::span<const int32_t> at(rows);
    const std::span<const float> by(ones);
    Tensor x = ops.embed(weight(kPositions), at);
    x = ops.add_rows(x, ops.embed(weight(kClass), at.first(1)), at.first(1), by.first(1));
    const Tensor patches = ops.matmul(pixels, weight(kPatches), nullptr);  // [patches, d]
    return norm(ops.add_rows(x, patches, at.subspan(1), by.subspan(1)), kPreNorm);
  }

  Tensor layer(const Tensor& x, int layer) const {
    const int slots = kLayers + layer * kLayerSlots;
    AttentionParams attention;
    attention.heads = attention.kv_heads = vision.heads;
    attention.k_dim = attention.v_dim = vision.hidden_size / vision.heads;
    attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.k_dim));
    const RowSpan all{0, static_cast<int>(x.rows())};
    const Tensor normed = norm(x, slots + kNorm1);
    const Tensor mixed =
        ops.attend_all(linear(normed, slots + kQuery), linear(normed, slots + kKey),
                       linear(normed, slots + kValue), {&all, 1}, attention);
    const Tensor h = ops.add(x, linear(mixed, slots + kOutput));
    const Tensor up = ops.gelu(linear(norm(h, slots + kNorm2), slots + kUp), vision.activation);
    return ops.add(h, linear(up, slots + kDown));
  }
};

}  // namespace

Tensor features(const Config& config, const Weights& weights, Ops& ops, const Tensor& pixels) {
  const VisionConfig& vision = *config.vision;
  const Tower tower{vision, weights, ops};
  std::vector<Tensor> used(vision.feature_layers.size());
  Tensor x = tower.embed(pixels);  // [patches + 1, d]
  for (int layer = 0;; ++layer) {
    for (size_t i = 0; i < used.size(); ++i)
      if (vision.feature_layers[i] == layer) used[i] = x;
    if (layer == vision.layer_count) break;
    x = tower.layer(x, layer);
  }
  Tensor chosen = used.front();
  for (size_t i = 1; i < used.size(); ++i) chosen = ops.concat_columns(chosen, used[i]);
  if (!vision.keep_class) {
    std::vector<int32_t> rows(static_cast<size_t>(vision.patches()));
    std::iota(rows.begin(), rows.end(), 1);
    chosen = ops.gather_rows(chosen, rows);
  }
  const Tensor h = ops.gelu(tower.linear(chosen, kProjectIn), vision.projector_activation);
  return tower.linear(h, kProjectOut);
}

}  // namespace exo::vision
