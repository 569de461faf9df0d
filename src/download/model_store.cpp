#include "download/model_store.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "download/ollama_store.h"
#include "download/shard_downloader.h"
#include "tensor/sparse_file.h"
#include "tensor/tensor_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxListed = 4096;
constexpr size_t kMaxGiven = 256;
constexpr size_t kMaxNameBytes = 4096;
constexpr std::string_view kRemovedPrefix = ".removed-";

bool has_gguf_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  });
  return suffix == ".gguf";
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

// A file on its way is a model too: what is needed to open it comes first.
bool holds_gguf(const fs::path& path) {
  std::error_code ignored;
  if (path.extension() != ".partial") return has_gguf_suffix(path);
  const fs::path name = path.parent_path() / path.stem();
  return has_gguf_suffix(name) && fs::exists(record_path(name), ignored);
}

StoredModel stored_at(const fs::path& path, const ModelCatalog& catalog) {
  StoredModel model{model_id_of_path(path), path, std::nullopt};
  const auto record = read_source_record(path);
  if (!record.ok() || !*record) return model;
  model.source = (*record)->source;
  model.asked = (*record)->asked;
  if (const auto known = catalog.find({model.source->repo, "main", model.asked}))
    model.id = known->name;
  return model;
}

void add_models_in(const fs::path& folder, const ModelCatalog& catalog,
                   std::vector<StoredModel>& models) {
  std::error_code ignored;  // an unreadable folder holds no model for us
  std::vector<fs::path> found;
  fs::directory_iterator entry(folder, ignored);
  for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored)) {
    if (found.size() >= kMaxListed) break;
    if (entry->path().filename().string().starts_with('.')) continue;
    if (is_model_path(entry->path())) found.push_back(fs::absolute(entry->path(), ignored));
  }
  std::sort(found.begin(), found.end());
  for (const fs::path& path : found) models.push_back(stored_at(path, catalog));
}

bool comes_from(const StoredModel& model, const ModelSource& wanted) {
  return model.source && model.source->repo == wanted.repo &&
         (lower(model.asked) == lower(wanted.what) || model.source->what == wanted.what) &&
         (wanted.revision == "main" || wanted.revision == model.source->revision);
}

// What was removed, by this call or by one that was killed.
void remove_leftovers(const fs::path& home, std::error_code& error) {
  std::vector<fs::path> leftovers;
  fs::directory_iterator entry(home, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with(kRemovedPrefix))
      leftovers.push_back(entry->path());
  for (const fs::path& path : leftovers)
    if (!error) fs::remove_all(path, error);
}

// "meta-llama/Llama-3.2-1B" lies in "meta-llama--Llama-3.2-1B", as exo names its folders.
std::string folder_style(std::string name) {
  const size_t slash = name.find('/');
  if (slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

}  // namespace

bool is_model_path(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (fs::is_regular_file(path / "config.json", ignored)) return true;
    if (const auto record = read_source_record(path); record.ok() && *record) return true;
    fs::directory_iterator entry(path, ignored);
    for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored))
      if (holds_gguf(entry->path())) return true;
    return false;
  }
  return has_gguf_suffix(path) && fs::is_regular_file(path, ignored);
}

std::string model_id_of_path(const fs::path& path) {
  const fs::path clean = path.lexically_normal();
  const fs::path last = clean.has_filename() ? clean : clean.parent_path();  // "folder/"
  // All parts of a split file are one model.
  if (const auto part = parse_gguf_part_name(last.filename().string())) return part->base;
  return (has_gguf_suffix(last) ? last.stem() : last.filename()).string();
}

std::vector<StoredModel> ModelStore::list() const {
  std::vector<StoredModel> all;
  const ModelCatalog& catalog = *options_.catalog;
  for (const fs::path& folder : options_.builtin) add_models_in(folder, catalog, all);
  if (!options_.downloads.empty()) add_models_in(options_.downloads, catalog, all);
  for (const fs::path& folder : options_.read_only) add_models_in(folder, catalog, all);
  for (OllamaModel& model : list_ollama_models(options_.ollama))
    all.push_back({std::move(model.id), std::move(model.blob), std::nullopt});
  {
    const std::lock_guard lock(mutex_);
    all.insert(all.end(), given_.begin(), given_.end());
  }
  std::vector<StoredModel> models;
  for (StoredModel& model : all) {
    const auto same = [&](const StoredModel& other) { return other.id == model.id; };
    if (std::none_of(models.begin(), models.end(), same)) models.push_back(std::move(model));
  }
  return models;
}

Result<StoredModel> ModelStore::find(const std::string& model) {
  if (model.empty() || model.size() > kMaxNameBytes || model.find('\0') != std::string::npos)
    return invalid_argument("the model's name is empty or not a name");
  const std::vector<StoredModel> models = list();
  const std::string as_folder = folder_style(model);
  for (const StoredModel& known : models)
    if (known.id == model || known.id == as_folder) return known;
  for (const StoredModel& known : models)
    if (lower(known.id) == lower(as_folder)) return known;

  const auto source = options_.catalog->source_of(model);
  if (source.ok() && *source)
    for (const StoredModel& known : models)
      if (comes_from(known, **source)) return known;

  std::error_code ignored;
  const fs::path path = fs::absolute(model, ignored).lexically_normal();
  if (is_model_path(path)) return remember(path);
  if (fs::is_directory(path, ignored))
    return not_found(fmt::format(
        "{} is a folder without a config.json; give the folder of a Hugging Face checkpoint, or a "
        ".gguf file",
        model));
  std::string names;
  for (const StoredModel& known : models) {
    if (names.size() > 300) break;
    names += (names.empty() ? "" : ", ") + known.id;
  }
  return not_found(fmt::format(
      "model {} not found: not in {}, and not a folder or .gguf file. Here are: {}. What can be "
      "fetched: `exo models --all`",
      model, options_.downloads.empty() ? "the downloads folder" : options_.downloads.string(),
      names.empty() ? "none" : names));
}

Result<StoredModel> ModelStore::remember(const fs::path& path) {
  const fs::path folder = path.has_filename() ? path : path.parent_path();
  StoredModel model = stored_at(folder, *options_.catalog);
  const std::lock_guard lock(mutex_);
  std::erase_if(given_, [&](const StoredModel& other) { return other.path == folder; });
  if (given_.size() >= kMaxGiven) given_.erase(given_.begin());
  given_.push_back(model);
  return model;
}

Result<uint64_t> ModelStore::remove(const StoredModel& model) {
  std::error_code error;
  const fs::path home = fs::weakly_canonical(options_.downloads, error);
  const fs::path path = fs::weakly_canonical(model.path, error);
  if (options_.downloads.empty() || path.parent_path() != home)
    return permission_denied(fmt::format(
        "{} was not downloaded by exo and is left alone; it lies in {}", model.id, path.string()));
  const uint64_t bytes = disk_bytes(path);
  // Out of sight at once: whatever ends the program now leaves no half of a model.
  const fs::path removed = home / (std::string(kRemovedPrefix) + path.filename().string());
  fs::remove_all(removed, error);
  fs::rename(path, removed, error);
  if (!error) remove_leftovers(home, error);
  if (error)
    return permission_denied(fmt::format("cannot remove {}: {}", path.string(), error.message()));
  return bytes;
}

uint64_t disk_bytes(const fs::path& path) {
  uint64_t bytes = 0;
  const auto count = [&](const fs::path& file) {
    struct stat info {};
    if (::stat(file.c_str(), &info) == 0) bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  };
  count(path);
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error))
    count(entry->path());
  return bytes;
}

fs::path default_downloads_folder() {
  if (const char* exo_home = std::getenv("EXO_HOME"); exo_home != nullptr && *exo_home != 0)
    return fs::path(exo_home) / "downloads";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0)
    return fs::path(home) / ".cache" / "exo" / "downloads";
  return {};
}

std::vector<fs::path> read_only_model_folders() {
  const char* value = std::getenv("EXO_MODELS_READ_ONLY_DIRS");
  std::vector<fs::path> folders;
  std::string_view rest = value == nullptr ? "" : value;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    if (end > 0) folders.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return folders;
}

std::vector<fs::path> builtin_model_folders(const fs::path& binary, const fs::path& source_tree) {
  std::vector<fs::path> folders;
  if (!binary.empty())
    folders.push_back(binary.parent_path().parent_path() / "share" / "exo" / "models");
  if (!source_tree.empty()) folders.push_back(source_tree / "models");
  return folders;
}

}  // namespace exo
