// LLaVA 1.5 (Liu et al. 2023): CLIP's vision tower and a projector (model/vision.h) in front of a
// text model of another family, which the config names and which does all the rest.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "model/config_reader.h"
#include "model/vision.h"

namespace exo {

const Architecture& arch_llava();

namespace {

constexpr int kMostLayers = 1 << 10;
constexpr int kMostPixels = 1 << 13;  // of a side

// The text model's family is all that this one adds to its config.
const Architecture& text_of(const Config& config) {
  return *std::any_cast<const Architecture*>(config.extra);
}

// --- config.json ---

// Keys that are absent mean what Hugging Face's classes say, and published configs leave them out.
struct TextDefaults {
  std::string_view model_type;
  int vocab_size, hidden_size, intermediate_size;
};
constexpr TextDefaults kTextDefaults[] = {
    {"llama", 32000, 4096, 11008}, {"mistral", 32000, 4096, 14336}, {"qwen2", 151936, 4096, 22016}};

JsonObject with_defaults(JsonObject text, std::string_view model_type) {
  for (const TextDefaults& defaults : kTextDefaults) {
    if (defaults.model_type != model_type) continue;
    text.emplace("vocab_size", defaults.vocab_size);
    text.emplace("hidden_size", defaults.hidden_size);
    text.emplace("intermediate_size", defaults.intermediate_size);
    text.emplace("num_hidden_layers", 32);
    text.emplace("num_attention_heads", 32);
  }
  return text;
}

// The text model's config, if its family can do without `extra`, which then names it, and makes no
// weights of its own.
Result<Config> with_family(Result<Config> config, const Architecture* family) {
  if (config.ok() && (config->extra.has_value() || family->read != nullptr))
    return unsupported(
        fmt::format("a text model of the family {} is not known here", family->family));
  if (config.ok()) config->extra = family;
  return config;
}

Result<Config> parse_text(const JsonObject& json) {
  const JsonObject* given = TRY(get_object(json, "text_config"));
  JsonObject text = given != nullptr ? *given : JsonObject();
  const std::string type = TRY(get_string(text, "model_type")).value_or("llama");
  const Architecture* family = TRY(find_architecture(type));
  if (family == &arch_llava() || is_encoder(*family))
    return unsupported(fmt::format("a text model of the type '{}' is not known here", type));
  // transformers 5 ties at the top.
  if (!text.contains("tie_word_embeddings") && json.contains("tie_word_embeddings"))
    text["tie_word_embeddings"] = json.at("tie_word_embeddings");
  return with_family(family->parse_config(with_defaults(std::move(text), type)), family);
}

// One layer or a list of them, counted from the input to the first; negative ones from the end.
Result<std::vector<int>> read_feature_layers(const JsonObject& json, int layer_count) {
  const Json* given = find_value(json, "vision_feature_layer");
  const Json value = given == nullptr ? Json(-2) : *given;
  const JsonArray list = value.is_array() ? value.get_array() : JsonArray{value};
  std::vector<int> layers;
  for (const Json& item : list) {
    boost::json::error_code error;
    const int64_t layer = item.is_number() ? item.to_number<int64_t>(error) : INT64_MAX;
    if (error || layer > layer_count || layer < -layer_count - 1 || layers.size() >= kMostLayers)
      return invalid_argument(fmt::format("'vision_feature_layer' {} is no layer of a tower of {}",
                                          to_text(value), layer_count));
    layers.push_back(static_cast<int>(layer < 0 ? layer + layer_count + 1 : layer));
  }
  if (layers.empty()) return invalid_argument("'vision_feature_layer' names no layer");
  return layers;
}

Result<VisionConfig> check_tower(VisionConfig vision) {
  if (vision.image_size > kMostPixels || vision.patch_size > vision.image_size ||
      vision.hidden_size > 1 << 20 || vision.intermediate_size > 1 << 24)
    return invalid_argument("the sizes of the vision tower are out of range");
  if (vision.hidden_size % vision.heads != 0)
    return invalid_argument(fmt::format("{} attention heads of the vision tower cannot share {}",
                                        vision.heads, vision.hidden_size));
  if (!(vision.norm_eps >= 0 && vision.norm_eps < 1))
    return invalid_argument("the epsilon of the vision tower's norms is out of range");
  return vision;
}

// vision_config, whose absent keys are those of another tower than no vision_config at all.
Result<VisionConfig> parse_tower(const JsonObject& json, int& layer_count) {
  const JsonObject* given = TRY(get_object(json, "vision_config"));
  const JsonObject none;
  ConfigReader reader(given != nullptr ? *given : none);
  const auto size = [&](const char* key, int in_given, int in_none) {
    return reader.size(key, given != nullptr ? in_given : in_none);
  };
  VisionConfig vision;
  vision.hidden_size = size("hidden_size", 768, 1024);
  vision.intermediate_size = size("intermediate_size", 3072, 4096);
  vision.heads = size("num_attention_heads", 12, 16);
  vision.image_size = size("image_size", 224, 336);
  vision.patch_size = size("patch_size", 32, 14);
  layer_count = size("num_hidden_layers", 12, 24);
  vision.activation = reader.gelu("hidden_act", "quick_gelu");
  vision.norm_eps = static_cast<float>(reader.number("layer_norm_eps", 1e-5));
  const std::string type = reader.text("model_type", "clip_vision_model");
  if (type != "clip_vision_model")
    reader.fail(unsupported(fmt::format("a vision tower of the type '{}' is not known", type)));
  if (reader.size("num_channels", 3) != 3)
    reader.fail(unsupported("'num_channels' other than 3 is not known"));
  reader.known(std::array<std::string_view, 5>{"vocab_size", "projection_dim", "dropout",
                                               "initializer_factor", "attention_dropout"});
  reader.known_everywhere();
  TRY(reader.finish());
  if (layer_count > kMostLayers) return invalid_argument("the vision tower has too many layers");
  return check_tower(std::move(vision));
}

Result<Config> parse_config(const JsonObject& json) {
  auto text = parse_text(json);
  if (!text.ok()) return text.error().in("text_config");
  Config config = std::move(*text);
  int layer_count = 0;
  auto tower = parse_tower(json, layer_count);
  if (!tower.ok()) return tower.error().in("vision_config");
  VisionConfig& vision = config.vision.emplace(std::move(*tower));
  vision.feature_layers = TRY(read_feature_layers(json, layer_count));
  vision.layer_count =
      *std::max_element(vision.feature_layers.begin(), vision.feature_layers.end());

  ConfigReader reader(json);
  const std::string strategy = reader.text("vision_feature_select_strategy", "default");
  vision.keep_class = strategy == "full";
  if (strategy != "default" && strategy != "full")
    reader.fail(unsupported(fmt::format(
        "'vision_feature_select_strategy' is '{}'; known are default and full", strategy)));
  vision.projector_activation = reader.gelu("projector_hidden_act", "gelu");
  vision.projector_bias = reader.flag("multimodal_projector_bias", true);
  vision.image_token = reader.size("image_token_index", reader.size("image_token_id", 32000));
  // What the text model and the tower answer for, and what Hugging Face's code does not read.
  reader.known(std::array<std::string_view, 8>{
      "text_config", "vision_config", "ignore_index", "image_seq_length", "vision_feature_layer",
      "tie_word_embeddings", "vocab_size", "attention_dropout"});
  reader.known_everywhere();
  TRY(reader.finish());
  if (vision.image_token >= config.vocab_size)
    return invalid_argument(fmt::format("the image token {} is outside the vocabulary of {}",
                                        vision.image_token, config.vocab_size));
  return config;
}

// --- GGUF: the text model's file, and llama.cpp's "mmproj" file with the tower ---

// The vocabulary's "<image>"; of those without one, the unknown token, which no text becomes.
Result<TokenId> gguf_image_token(const JsonObject& metadata, int vocab_size) {
  const JsonArray* tokens = TRY(get_array(metadata, "tokenizer.ggml.tokens"));
  int64_t id = TRY(get_int(metadata, "tokenizer.ggml.unknown_token_id")).value_or(0);
  if (tokens != nullptr)
    for (size_t i = 0; i < tokens->size(); ++i)
      if ((*tokens)[i] == "<image>") id = static_cast<int64_t>(i);
  if (id < 0 || id >= vocab_size)
    return invalid_argument("'tokenizer.ggml.unknown_token_id' is outside the vocabulary");
  return static_cast<TokenId>(id);
}

// Converters before 2025 took the names of the two matrices of an MLP for each other.
bool is_mlp_swapped(const VisionConfig& vision, const TensorFiles& tensors) {
  const auto down = tensors.find("v.blk.0.ffn_down.weight");
  return down.ok() && down->shape == Shape{vision.intermediate_size, vision.hidden_size};
}

Result<VisionConfig> parse_gguf_tower(const JsonObject& metadata, const TensorFiles& tensors) {
  ConfigReader reader(metadata, "clip.");
  VisionConfig vision;
  vision.hidden_size = reader.size("vision.embedding_length");
  vision.intermediate_size = reader.size("vision.feed_forward_length");
  vision.heads = reader.size("vision.attention.head_count");
  vision.image_size = reader.size("vision.image_size");
  vision.patch_size = reader.size("vision.patch_size");
  vision.norm_eps = static_cast<float>(reader.number("vision.attention.layer_norm_epsilon", 1e-5));
  const int layer_count = reader.size("vision.block_count");
  if (reader.flag("use_gelu", false)) vision.activation = Gelu::erf;
  if (reader.flag("use_silu", false)) reader.fail(unsupported("'clip.use_silu' is not known here"));
  if (const auto type = reader.text("projector_type", "mlp"); type != "mlp")
    reader.fail(unsupported(fmt::format("a projector of the type '{}' is not known here", type)));
  if (const auto merge = reader.text("vision.mm_patch_merge_type", "flat"); merge != "flat")
    reader.fail(unsupported(fmt::format("'mm_patch_merge_type' {} is not known here", merge)));
  reader.known(std::array<std::string_view, 9>{
      "has_text_encoder", "has_vision_encoder", "has_llava_projector", "vision.projection_dim",
      "vision.image_mean", "vision.image_std", "vision.feature_layer", "vision.mm_projector_type",
      "vision.projector_type"});
  TRY(reader.finish());
  if (layer_count > kMostLayers) return invalid_argument("the vision tower has too many layers");
  const auto copy = [&](std::string_view from, std::string_view to, JsonObject& json) {
    if (const Json* value = find_value(metadata, from))
      json[boost::json::string_view(to.data(), to.size())] = *value;
  };
  JsonObject pixels, layers{{"vision_feature_layer", layer_count}};
  copy("clip.vision.image_mean", "image_mean", pixels);
  copy("clip.vision.image_std", "image_std", pixels);
  TRY(vision::read_preprocessor(pixels, vision));
  // Without the key the file holds just the layers that are run.
  copy("clip.vision.feature_layer", "vision_feature_layer", layers);
  vision.feature_layers = TRY(read_feature_layers(layers, layer_count));
  vision.layer_count =
      *std::max_element(vision.feature_layers.begin(), vision.feature_layers.end());
  vision.swapped_mlp = is_mlp_swapped(vision, tensors);
  return check_tower(std::move(vision));
}

Result<Config> parse_gguf(const JsonObject& metadata, const TensorFiles& tensors) {
  const std::string name = TRY(get_string(metadata, "general.architecture")).value_or("(none)");
  const Architecture* family = TRY(find_gguf_architecture(name));
  Config config = TRY(with_family(family->parse_gguf(metadata, tensors), family));
  config.vision = TRY(parse_gguf_tower(metadata, tensors));
  config.vision->image_token = TRY(gguf_image_token(metadata, config.vocab_size));
  return config;
}

// --- weights ---

// The text model's names as its own checkpoints have them, from what the whole calls them.
std::string text_name(std::string_view name) {
  constexpr std::string_view kHub = "language_model.", kNewer = "model.language_model.";
  if (name.starts_with(kNewer)) return "model." + std::string(name.substr(kNewer.size()));
  if (name.starts_with(kHub)) return std::string(name.substr(kHub.size()));
  return std::string(name);
}

void rename(WeightSpec& spec) {
  constexpr std::string_view kModel = "model.";
  const std::string own = spec.name;
  spec.name = "language_model." + own;
  const std::string_view rest = own;
  spec.other_names = {rest.starts_with(kModel) ? "model.language_model." + own.substr(kModel.size())
                                               : own};
}

std::vector<WeightSpec> declare(const Config& config) {
  std::vector<WeightSpec> specs = text_of(config).declare(config);
  if (!config.gguf)
    for (WeightSpec& spec : specs) rename(spec);
  vision::declare(config, specs);
  return specs;
}

bool may_ignore(const Config& config, std::string_view name) {
  return vision::may_ignore(config, name) || text_of(config).may_ignore(config, text_name(name));
}

KvSpec kv(const Config& config, int layer) { return text_of(config).kv(config, layer); }

Tensor embed(const StepContext& step, std::span<const TokenId> ids) {
  return text_of(step.config).embed(step, ids);
}
Tensor layer(const StepContext& step, int layer, const Tensor& x) {
  return text_of(step.config).layer(step, layer, x);
}
Tensor head(const StepContext& step, const Tensor& x) { return text_of(step.config).head(step, x); }

constexpr std::array<std::string_view, 2> kNames = {"LlavaForConditionalGeneration", "llava"};

}  // namespace

const Architecture& arch_llava() {
  static const Architecture architecture{.family = "llava",
                                         .names = kNames,
                                         .gguf_names = {},
                                         .parse_config = parse_config,
                                         .parse_gguf = parse_gguf,
                                         .declare = declare,
                                         .may_ignore = may_ignore,
                                         .kv = kv,
                                         .embed = embed,
                                         .layer = layer,
                                         .head = head};
  return architecture;
}

}  // namespace exo
