#include "model/model_files.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <tuple>

#include "backend/op_shapes.h"
#include "base/file.h"
#include "model/config_reader.h"
#include "model/vision.h"
#include "model/weights.h"
#include "tensor/quantized_files.h"
#include "tensor/sparse_file.h"
#include "tensor/stacked_experts.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostJsonBytes = 64 << 20;

Result<JsonObject> read_object(const fs::path& path) {
  const std::string text = TRY(read_file(path, kMostJsonBytes));
  auto json = parse_json(text);
  if (!json.ok()) return json.error().in(path.string());
  if (!json->is_object()) return corrupt(path.string() + ": expected a JSON object");
  return std::move(json->get_object());
}

// Errors of TensorFiles name their file already.
Error located(const Error& error, const fs::path& path) {
  return error.message.starts_with(path.string()) ? error : error.in(path.string());
}

// Files of other programs may have no suffix.
bool begins_as_gguf(const fs::path& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

// An object without members when there is no such file.
Result<JsonObject> read_optional(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return JsonObject();
  return read_object(path);
}

std::string sha256_hex(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  CHECK(EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha256(), nullptr) == 1,
        "SHA-256 is always there");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

// One id or a list of them; ids outside the vocabulary are of no use and left out.
std::vector<TokenId> token_ids(const JsonObject& object, std::string_view key, int vocab_size) {
  std::vector<TokenId> ids;
  const auto add = [&](const Json& value) {
    boost::json::error_code error;
    const auto id = value.is_number() ? value.to_number<int64_t>(error) : -1;
    if (error || id < 0 || id >= vocab_size || ids.size() >= 64) return;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(static_cast<TokenId>(id));
  };
  const Json* value = find_value(object, key);
  if (value == nullptr) return ids;
  if (value->is_array())
    for (const Json& item : value->get_array()) add(item);
  add(*value);
  return ids;
}

Result<GenerationDefaults> read_defaults(const JsonObject& generation) {
  GenerationDefaults defaults;
  defaults.temperature = TRY(get_number(generation, "temperature"));
  defaults.top_p = TRY(get_number(generation, "top_p"));
  defaults.min_p = TRY(get_number(generation, "min_p"));
  defaults.repetition_penalty = TRY(get_number(generation, "repetition_penalty"));
  const auto small = [](std::optional<int64_t> value) -> std::optional<int> {
    if (!value) return std::nullopt;
    return static_cast<int>(std::clamp<int64_t>(*value, 0, 1 << 30));
  };
  defaults.top_k = small(TRY(get_int(generation, "top_k")));
  defaults.max_tokens = small(TRY(get_int(generation, "max_new_tokens")));
  return defaults;
}

// Bytes of each part as loaded, and the dtype most of them are stored in.
Result<void> count_bytes(ModelFiles& model, WeightFormat format) {
  ModelCard& card = model.card;
  card.embedding_bytes = card.head_bytes = card.parameter_count = 0;
  card.layer_bytes.assign(static_cast<size_t>(model.config.layer_count), 0);
  std::map<std::string_view, uint64_t> by_dtype;
  std::set<std::tuple<std::string, int64_t, int>> counted;
  for (const WeightSpec& spec :
       declared_weights(*model.architecture, model.config, *model.tensors)) {
    const TensorInfo found = TRY(find_weight(spec, *model.tensors));
    const HostTensor tensor{found.dtype, found.shape, {}, nullptr};
    const uint64_t bytes =
        shapes::weight_bytes(tensor, spec.as_stored ? WeightFormat::as_stored : format);
    if (spec.part == Part::embedding) card.embedding_bytes += bytes;
    if (spec.part == Part::head) card.head_bytes += bytes;
    if (spec.part == Part::layer) card.layer_bytes[static_cast<size_t>(spec.layer)] += bytes;
    if (!counted.insert({spec.name, spec.row_begin, spec.made ? spec.slot : -1}).second) {
      card.tied_embedding = card.tied_embedding || spec.part == Part::head;
      continue;
    }
    card.parameter_count += static_cast<uint64_t>(tensor.elements());
    by_dtype[traits(tensor.dtype).name] += row_bytes(tensor.dtype, tensor.elements());
  }
  const auto most =
      std::max_element(by_dtype.begin(), by_dtype.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  card.weight_dtype = std::string(most->first);
  return {};
}

// The part of the card that any file format fills in alike.
Result<void> fill_card(ModelFiles& model) {
  const Config& config = model.config;
  TRY(check_weights(*model.architecture, config, *model.tensors));
  ModelCard& card = model.card;
  card.family = std::string(model.architecture->family);
  card.layer_count = config.layer_count;
  card.hidden_size = config.hidden_size;
  card.vocab_size = config.vocab_size;
  card.context_length = config.context_length;
  card.embeds = is_encoder(*model.architecture);
  if (config.vision) {
    card.vision = true;
    card.image_size = config.vision->image_size;
    card.image_tokens = config.vision->tokens();
    card.image_token = config.vision->image_token;
  }
  constexpr uint64_t kKvElementBytes = 2;  // f16; backends that keep f32 need twice as much
  for (int layer = 0; layer < config.layer_count; ++layer) {
    const KvSpec kv = model.architecture->kv(config, layer);
    card.kv_bytes_per_token_per_layer = std::max(
        card.kv_bytes_per_token_per_layer, kKvElementBytes * static_cast<uint64_t>(kv.kv_heads) *
                                               static_cast<uint64_t>(kv.k_dim + kv.v_dim));
  }
  return count_bytes(model, WeightFormat::as_stored);
}

Result<const Architecture*> architecture_of(const JsonObject& config) {
  const JsonArray* names = TRY(get_array(config, "architectures"));
  if (names != nullptr && !names->empty() && names->front().is_string())
    return find_architecture(std::string(names->front().get_string()));
  const auto type = TRY(get_string(config, "model_type"));
  if (type) return find_architecture(*type);
  return invalid_argument("neither 'architectures' nor 'model_type' says what model this is");
}

// How sentence-transformers makes one vector out of a row for each token.
Result<Pooling> read_pooling(const fs::path& folder) {
  const JsonObject json = TRY(read_optional(folder / "1_Pooling" / "config.json"));
  std::string chosen = TRY(get_string(json, "pooling_mode")).value_or("");
  for (const auto& [key, value] : json) {
    constexpr std::string_view kPrefix = "pooling_mode_";
    const std::string_view name(key.data(), key.size());
    if (!name.starts_with(kPrefix) || value != true) continue;
    if (!chosen.empty()) chosen += " and ";
    chosen += name.substr(kPrefix.size());
  }
  if (chosen == "cls_token" || chosen == "cls") return Pooling::cls;
  if (chosen.empty() || chosen == "mean_tokens" || chosen == "mean") return Pooling::mean;
  return unsupported(fmt::format("pooling by '{}' is not known here", chosen));
}

// What comes after the encoder; more than pooling and normalising is not known.
Result<void> check_modules(const fs::path& folder) {
  std::error_code ignored;
  const fs::path file = folder / "modules.json";
  if (!fs::exists(file, ignored)) return {};
  auto json = parse_json(TRY(read_file(file, kMostJsonBytes)));
  if (!json.ok()) return json.error().in(file.string());
  if (!json->is_array()) return corrupt(file.string() + ": expected a JSON array");
  for (const Json& module : json->get_array()) {
    if (!module.is_object()) return corrupt(file.string() + ": expected objects");
    const auto type = TRY(get_string(module.get_object(), "type")).value_or("");
    const std::string name = type.substr(type.rfind('.') + 1);
    if (name != "Transformer" && name != "Pooling" && name != "Normalize")
      return unsupported(
          fmt::format("{}: a module of the type '{}' is not known here", file.string(), type));
  }
  return {};
}

// What is done to a picture before the tower; transformers 5 has it inside another file.
Result<void> read_preprocessor(const fs::path& folder, VisionConfig& vision) {
  const fs::path own = folder / "preprocessor_config.json",
                 shared = folder / "processor_config.json";
  const JsonObject alone = TRY(read_optional(own)), around = TRY(read_optional(shared));
  const JsonObject* inside = TRY(get_object(around, "image_processor"));
  const bool nested = alone.empty() && inside != nullptr;
  auto read = vision::read_preprocessor(nested ? *inside : alone, vision);
  if (!read.ok()) return read.error().in((nested ? shared : own).string());
  return {};
}

Result<void> parse_checkpoint(ModelFiles& model, const JsonObject& config) {
  model.architecture = TRY(architecture_of(config));
  JsonObject numbers = config;
  for (const char* key : {"quantization_config", "quantization"}) numbers.erase(key);
  model.config = TRY(model.architecture->parse_config(numbers));
  return {};
}

Result<ModelFiles> open_checkpoint(const fs::path& folder, std::string id) {
  ModelFiles model;
  const JsonObject config = TRY(read_object(folder / "config.json"));
  if (auto parsed = parse_checkpoint(model, config); !parsed.ok())
    return parsed.error().in((folder / "config.json").string());
  if (model.config.vision) TRY(read_preprocessor(folder, *model.config.vision));
  auto quantized = open_quantized(TRY(open_safetensors(folder)), config);
  if (!quantized.ok()) return located(quantized.error(), folder);
  model.tensors = unstack_experts(std::move(quantized).value());
  if (auto filled = fill_card(model); !filled.ok()) return located(filled.error(), folder);

  if (model.card.embeds) {
    TRY(check_modules(folder));
    auto pooling = read_pooling(folder);
    if (!pooling.ok()) return pooling.error().in((folder / "1_Pooling/config.json").string());
    model.pooling = *pooling;
  }
  const JsonObject generation = TRY(read_optional(folder / "generation_config.json"));
  auto defaults = read_defaults(generation);
  if (!defaults.ok()) return defaults.error().in((folder / "generation_config.json").string());
  model.defaults = *defaults;
  ModelCard& card = model.card;
  card.eos_ids = token_ids(generation, "eos_token_id", card.vocab_size);
  if (card.eos_ids.empty()) card.eos_ids = token_ids(config, "eos_token_id", card.vocab_size);
  const JsonObject tokenizer = TRY(read_optional(folder / "tokenizer_config.json"));
  std::error_code ignored;
  card.has_chat_template =
      tokenizer.contains("chat_template") || fs::exists(folder / "chat_template.jinja", ignored);
  card.id = id.empty() ? folder.filename().string() : std::move(id);
  card.path = folder.string();
  card.fingerprint =
      sha256_hex("config\n" + to_text(Json(config)) + "\n" + model.tensors->header_digest());
  return model;
}

// llama.cpp keeps a model's vision tower in a file of its own, "mmproj-....gguf", beside the
// others.
struct GgufFolder {
  std::vector<fs::path> models, towers;  // of a split model its first part

  explicit GgufFolder(const fs::path& folder) {
    std::error_code error;
    std::vector<fs::path> inner;
    fs::directory_iterator entry(folder, error);
    for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
      std::error_code ignored;
      if (entry->is_directory(ignored)) inner.push_back(entry->path());
      add(entry->path());
    }
    // Hubs keep the parts of a large model in a folder of their own.
    if (!models.empty() || inner.size() != 1) return;
    entry = fs::directory_iterator(inner.front(), error);
    for (const fs::directory_iterator end; !error && entry != end; entry.increment(error))
      add(entry->path());
  }
  void add(fs::path file) {
    std::error_code ignored;
    if (file.extension() == ".partial") {  // on its way, unless a conversion left it
      file.replace_extension();
      if (!fs::exists(record_path(file), ignored)) return;
    }
    if (file.extension() != ".gguf") return;
    auto part = parse_gguf_part_name(file.filename().string());
    if (part) part->part = 1;
    if (part) file.replace_filename(gguf_part_name(*part));
    std::vector<fs::path>& list = is_tower(file) ? towers : models;
    if (std::find(list.begin(), list.end(), file) == list.end()) list.push_back(file);
  }
  static bool is_tower(const fs::path& file) {
    return file.filename().string().find("mmproj") != std::string::npos;
  }
};

// The only tower in the folder of `file`, if it speaks the model's language: rows as wide as its.
fs::path tower_of(const fs::path& file) {
  const GgufFolder folder(file.parent_path());
  if (GgufFolder::is_tower(file) || folder.towers.size() != 1) return {};
  const auto model = open_gguf(file), tower = open_gguf(folder.towers.front());
  if (!model.ok() || !tower.ok()) return {};
  const auto table = (*model)->find("token_embd.weight"), out = (*tower)->find("mm.2.weight");
  const bool fits = table.ok() && out.ok() && table->shape.size() == 2 && out->shape.size() == 2 &&
                    table->shape[1] == out->shape[0];
  return fits ? folder.towers.front() : fs::path();
}

Result<ModelFiles> open_gguf_model(const fs::path& file, std::string id,
                                   const fs::path& tower = {}) {
  ModelFiles model;
  model.tensors = TRY(open_gguf(file, tower));
  const JsonObject& metadata = model.tensors->metadata();
  const auto parse = [&]() -> Result<void> {
    const auto name = TRY(get_string(metadata, "general.architecture"));
    model.architecture = TRY(tower.empty() ? find_gguf_architecture(name.value_or("(none)"))
                                           : find_architecture("llava"));
    model.config = TRY(model.architecture->parse_gguf(metadata, *model.tensors));
    return fill_card(model);
  };
  if (auto parsed = parse(); !parsed.ok()) return located(parsed.error(), file);
  ModelCard& card = model.card;
  for (const char* key : {"eos", "eot", "eom"})
    for (const TokenId eos :
         token_ids(metadata, fmt::format("tokenizer.ggml.{}_token_id", key), card.vocab_size))
      if (std::find(card.eos_ids.begin(), card.eos_ids.end(), eos) == card.eos_ids.end())
        card.eos_ids.push_back(eos);
  card.has_chat_template = metadata.contains("tokenizer.chat_template");
  const auto part = parse_gguf_part_name(file.filename().string());
  card.id = !id.empty() ? std::move(id) : part ? part->base : file.stem().string();
  card.path = file.string();
  card.fingerprint = sha256_hex("gguf\n" + model.tensors->header_digest());
  return model;
}

}  // namespace

Result<ModelCard> card_in_format(const ModelFiles& model, WeightFormat format) {
  ModelFiles other = model;
  TRY(count_bytes(other, format));
  return std::move(other.card);
}

Result<fs::path> find_gguf(const fs::path& folder) {
  const GgufFolder gguf(folder);
  if (gguf.models.size() == 1 && gguf.towers.size() <= 1) return gguf.models.front();
  return not_found(fmt::format(
      "{}: {}", folder.string(),
      gguf.models.empty() ? "there is no config.json and no .gguf file, so this is no model folder"
                          : "there are several .gguf files; name one of them"));
}

Result<ModelFiles> open_model(const fs::path& given, std::string id) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(given, error);
  if (path.filename().empty()) path = path.parent_path();  // "folder/"
  if (error || !fs::exists(path, error))
    return not_found(fmt::format("{}: there is no such file or folder", given.string()));
  if (!fs::is_directory(path, error)) {
    if (path.extension() == ".gguf" || begins_as_gguf(path))
      return open_gguf_model(path, std::move(id), tower_of(path));
    return unsupported(
        fmt::format("{}: expected a folder with config.json and model.safetensors, or a .gguf file",
                    path.string()));
  }
  if (fs::exists(path / "config.json", error)) return open_checkpoint(path, std::move(id));
  const GgufFolder gguf(path);
  const fs::path tower = gguf.towers.size() == 1 ? gguf.towers.front() : fs::path();
  return open_gguf_model(TRY(find_gguf(path)), std::move(id), tower);
}

}  // namespace exo
