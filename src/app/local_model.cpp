#include "app/local_model.h"

#include <algorithm>
#include <filesystem>

#include "app/paths.h"
#include "base/file.h"
#include "base/log.h"
#include "download/ollama_store.h"
#include "media/clip_square.h"
#include "media/decode_image.h"
#include "model/model_files.h"
#include "tensor/tensor_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

// Where the tokenizer and the template are: a .gguf file also where the model is a folder of them.
Result<fs::path> text_path(const std::string& model) {
  const fs::path path = TRY(local_model_path(model));
  std::error_code ignored;
  const bool files = fs::is_directory(path, ignored) &&
                     !fs::exists(path / "config.json", ignored) &&
                     !fs::exists(path / "tokenizer.json", ignored) &&
                     !fs::exists(path / "tokenizer_config.json", ignored);
  if (!files) return path;
  return find_gguf(path);
}

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

BackendOptions backend_options(const NodeFlags& flags) {
  BackendOptions options;
  options.threads = flags.threads;
  options.exact = flags.exact;
  return options;
}

Result<std::optional<ChatTemplateSource>> find_source(const fs::path& path, bool with_tools) {
  if (is_gguf(path)) return chat_template_of_gguf(TRY(open_gguf(path))->metadata(), with_tools);
  return find_chat_template(path, with_tools);
}

}  // namespace

ModelStoreOptions model_store_options() {
  ModelStoreOptions options;
  options.builtin = builtin_model_folders(program_path(), EXO_SOURCE_TREE);
  options.downloads = default_downloads_folder();
  options.read_only = read_only_model_folders();
  options.ollama = default_ollama_folder();
  std::vector<fs::path> cards;
  for (const fs::path& folder : options.builtin) cards.push_back(folder / "cards");
  std::reverse(cards.begin(), cards.end());  // what lies beside the program wins
  cards.push_back(config_dir() / "models");
  auto catalog = ModelCatalog::load(cards);
  for (const Error& problem : catalog.problems()) log::warn("model cards: {}", problem.message);
  options.catalog = std::make_shared<const ModelCatalog>(std::move(catalog));
  return options;
}

std::shared_ptr<Downloads> make_downloads(const ModelStoreOptions& store, bool offline,
                                          std::shared_ptr<Neighbours> neighbours) {
  ShardDownloader::Options options;
  options.downloads = store.downloads;
  options.hub = hub_options_from_environment();
  options.hub.offline |= offline;
  options.hub.http.user_agent = std::string("exo/") + EXO_VERSION;
  options.neighbours = std::move(neighbours);
  return std::make_shared<Downloads>(std::move(options), store.catalog);
}

Result<fs::path> local_model_path(const std::string& model) {
  std::error_code ignored;
  if (fs::exists(model, ignored)) return fs::absolute(model, ignored).lexically_normal();
  ModelStore store(model_store_options());
  return TRY(store.find(model)).path;
}

Result<WeightFormat> parse_weight_format(const std::string& quantize) {
  if (quantize.empty()) return WeightFormat::as_stored;
  if (quantize == "q8_0") return WeightFormat::q8_0;
  if (quantize == "q4_0") return WeightFormat::q4_0;
  return invalid_argument("--quantize takes q8_0 or q4_0");
}

Result<std::shared_ptr<const Tokenizer>> load_model_tokenizer(const std::string& model) {
  const fs::path path = TRY(text_path(model));
  if (is_gguf(path)) return tokenizer_from_gguf(TRY(open_gguf(path))->metadata());
  return load_tokenizer(path);
}

Result<ModelTemplates> ModelTemplates::load(const std::string& model) {
  const fs::path path = TRY(text_path(model));
  ModelTemplates templates;
  for (One* one : {&templates.plain_, &templates.with_tools_}) {
    const bool with_tools = one == &templates.with_tools_;
    std::optional<ChatTemplateSource> source = TRY(find_source(path, with_tools));
    if (!source) return not_found(path.string() + " has no chat template");
    one->chat_template = TRY(ChatTemplate::parse(source->text));
    one->bos_token = source->bos_token;
    one->eos_token = source->eos_token;
  }
  return templates;
}

Result<std::string> ModelTemplates::render(ChatTemplateInput input) const {
  const One& one = input.tools.is_null() ? plain_ : with_tools_;
  input.bos_token = one.bos_token;
  input.eos_token = one.eos_token;
  return one.chat_template->render(input);
}

Result<std::vector<std::shared_ptr<const Image>>> load_images(const std::vector<std::string>& files,
                                                              int size) {
  std::vector<std::shared_ptr<const Image>> images;
  if (size < 1 && !files.empty()) return invalid_argument("this model does not see pictures");
  for (const std::string& file : files) {
    const std::string bytes = TRY(read_file(file, ImageLimits().bytes));
    auto image = decode_image(std::as_bytes(std::span(bytes)));
    if (!image.ok()) return image.error().in(file);
    images.push_back(std::make_shared<Image>(clip_square(*image, size)));
  }
  return images;
}

Result<Embedder> load_embedder(const std::string& model, const NodeFlags& flags, Pooling& pooling) {
  EmbedderOptions options;
  options.backend = flags.inference_engine;
  options.backend_options = backend_options(flags);
  options.weight_format = TRY(parse_weight_format(flags.quantize));
  const ModelFiles files = TRY(open_model(TRY(local_model_path(model))));
  pooling = files.pooling;
  return Embedder::load(files, options);
}

Result<LocalRing> load_local_ring(const std::string& model, const NodeFlags& flags,
                                  const std::string& shards, int kv_capacity_tokens) {
  LocalRingOptions options;
  if (!shards.empty()) options.shards = TRY(parse_shards(shards));
  options.backend = flags.inference_engine;
  options.backend_options = backend_options(flags);
  options.weight_format = TRY(parse_weight_format(flags.quantize));
  options.wire_dtype = flags.wire_dtype == "bf16" ? WireDtype::bf16 : WireDtype::f32;
  options.kv_capacity_tokens = kv_capacity_tokens;
  return LocalRing::load(TRY(open_model(TRY(local_model_path(model)))), options);
}

}  // namespace exo
