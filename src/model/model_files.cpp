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
#include "model/weights.h"

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
  const Json* value = object.if_contains(boost::json::string_view(key.data(), key.size()));
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
  for (const WeightSpec& spec : model.architecture->declare(model.config)) {
    HostTensor tensor = TRY(find_weight(spec, *model.tensors));
    if (tensor.dtype == DType::f8_e4m3)  // what it is loaded as
      tensor.dtype = tensor.shape.back() % 32 == 0 ? DType::f8_32 : DType::f32;
    const DType loaded = shapes::weight_dtype(tensor, format);
    const uint64_t bytes = row_bytes(loaded, tensor.elements());
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

// How the weights are packed; what the numbers mean is refused where it is not known.
Result<BlockScales> read_quantization(const JsonObject& quantization) {
  ConfigReader reader(quantization);
  const std::string method = reader.text("quant_method", "(none)");
  if (method == "mxfp4") return BlockScales{};  // gpt-oss: each tensor says it by its name
  if (method != "fp8")
    return unsupported(fmt::format(
        "weights quantised by '{}' cannot be read; take the model as bf16, FP8 or GGUF", method));
  const JsonArray* sizes = TRY(get_array(quantization, "weight_block_size"));
  const auto size_at = [&](size_t i) {
    return sizes != nullptr && sizes->size() == 2 && (*sizes)[i].is_int64()
               ? static_cast<int>(std::clamp<int64_t>((*sizes)[i].get_int64(), 0, 1 << 20))
               : 0;
  };
  const BlockScales scales{size_at(0), size_at(1)};
  if (scales.rows <= 0 || scales.columns <= 0)
    return unsupported("FP8 weights without a 'weight_block_size' of two numbers");
  return scales;
}

Result<void> parse_checkpoint(ModelFiles& model, const JsonObject& config) {
  model.architecture = TRY(architecture_of(config));
  JsonObject numbers = config;
  numbers.erase("quantization_config");
  model.config = TRY(model.architecture->parse_config(numbers));
  const JsonObject* quantization = TRY(get_object(config, "quantization_config"));
  if (quantization != nullptr) model.config.scales = TRY(read_quantization(*quantization));
  return {};
}

Result<ModelFiles> open_checkpoint(const fs::path& folder, std::string id) {
  ModelFiles model;
  const JsonObject config = TRY(read_object(folder / "config.json"));
  if (auto parsed = parse_checkpoint(model, config); !parsed.ok())
    return parsed.error().in((folder / "config.json").string());
  model.tensors = TRY(open_safetensors(folder));
  if (auto filled = fill_card(model); !filled.ok()) return located(filled.error(), folder);

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

Result<ModelFiles> open_gguf_model(const fs::path& file, std::string id) {
  ModelFiles model;
  model.tensors = TRY(open_gguf(file));
  const JsonObject& metadata = model.tensors->metadata();
  const auto parse = [&]() -> Result<void> {
    const auto name = TRY(get_string(metadata, "general.architecture"));
    model.architecture = TRY(find_gguf_architecture(name.value_or("(none)")));
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
  card.id = id.empty() ? file.stem().string() : std::move(id);
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

Result<ModelFiles> open_model(const fs::path& given, std::string id) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(given, error);
  if (path.filename().empty()) path = path.parent_path();  // "folder/"
  if (error || !fs::exists(path, error))
    return not_found(fmt::format("{}: there is no such file or folder", given.string()));
  if (!fs::is_directory(path, error)) {
    if (path.extension() == ".gguf" || begins_as_gguf(path))
      return open_gguf_model(path, std::move(id));
    return unsupported(
        fmt::format("{}: expected a folder with config.json and model.safetensors, or a .gguf file",
                    path.string()));
  }
  if (fs::exists(path / "config.json", error)) return open_checkpoint(path, std::move(id));
  std::vector<fs::path> gguf;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const fs::path& file = entry.path();
    const fs::path name = file.extension() == ".partial" ? file.parent_path() / file.stem() : file;
    if (name.extension() == ".gguf") gguf.push_back(name);
  }
  if (gguf.size() == 1) return open_gguf_model(gguf.front(), std::move(id));
  return not_found(fmt::format("{}: {}", path.string(),
                               gguf.empty() ? "there is no config.json, so this is no model folder"
                                            : "there are several .gguf files; name one of them"));
}

}  // namespace exo
