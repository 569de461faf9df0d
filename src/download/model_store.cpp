#include "download/model_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "tensor/tensor_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxListed = 4096;
constexpr size_t kMaxGiven = 256;
constexpr size_t kMaxNameBytes = 4096;

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

void add_models_in(const fs::path& folder, std::vector<StoredModel>& models) {
  std::error_code ignored;  // an unreadable folder holds no model for us
  std::vector<fs::path> found;
  fs::directory_iterator entry(folder, ignored);
  for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored)) {
    if (found.size() >= kMaxListed) break;
    if (is_model_path(entry->path())) found.push_back(fs::absolute(entry->path(), ignored));
  }
  std::sort(found.begin(), found.end());
  for (const fs::path& path : found) models.push_back({model_id_of_path(path), path});
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
    fs::directory_iterator entry(path, ignored);
    for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored))
      if (has_gguf_suffix(entry->path())) return true;
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
  for (const fs::path& folder : options_.builtin) add_models_in(folder, all);
  if (!options_.downloads.empty()) add_models_in(options_.downloads, all);
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
      "model {} not found: not in {}, and not a folder or .gguf file. Here are: {}", model,
      options_.downloads.empty() ? "the downloads folder" : options_.downloads.string(),
      names.empty() ? "none" : names));
}

Result<StoredModel> ModelStore::remember(const fs::path& path) {
  const fs::path folder = path.has_filename() ? path : path.parent_path();
  StoredModel model{model_id_of_path(folder), folder};
  const std::lock_guard lock(mutex_);
  std::erase_if(given_, [&](const StoredModel& other) { return other.path == folder; });
  if (given_.size() >= kMaxGiven) given_.erase(given_.begin());
  given_.push_back(model);
  return model;
}

fs::path default_downloads_folder() {
  if (const char* exo_home = std::getenv("EXO_HOME"); exo_home != nullptr && *exo_home != 0)
    return fs::path(exo_home) / "downloads";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0)
    return fs::path(home) / ".cache" / "exo" / "downloads";
  return {};
}

std::vector<fs::path> builtin_model_folders(const fs::path& binary, const fs::path& source_tree) {
  std::vector<fs::path> folders;
  if (!binary.empty())
    folders.push_back(binary.parent_path().parent_path() / "share" / "exo" / "models");
  if (!source_tree.empty()) folders.push_back(source_tree / "models");
  return folders;
}

}  // namespace exo
