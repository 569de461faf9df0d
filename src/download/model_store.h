// ModelStore: where models lie on this machine. Sees names and paths only; what is inside a folder
// is model/'s to read. A model is a folder with a config.json or a .gguf file in it, or a .gguf
// file. Found are, in this order: the built-in models, everything directly under the downloads
// folder and the read-only ones, what Ollama has, and what users gave by path since the start.
// Thread-safe. Errors say where was looked.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "download/model_catalog.h"

namespace exo {

struct StoredModel {
  // The card's name for what was fetched by one, else the folder's or file's name without ".gguf";
  // "org--name" is found as "org/name" too.
  std::string id;
  std::filesystem::path path;              // absolute
  std::optional<ModelSource> source = {};  // pinned to a commit; of what was fetched from a hub
  std::string asked = {};                  // what was asked of the source, as a card says it
};

struct ModelStoreOptions {
  std::vector<std::filesystem::path> builtin;  // folders whose subfolders are models; may not exist
  std::filesystem::path downloads;             // may not exist
  std::vector<std::filesystem::path> read_only = {};  // further ones, on other disks or shared
  std::filesystem::path ollama = {};                  // its models folder; may not exist
  std::shared_ptr<const ModelCatalog> catalog = std::make_shared<ModelCatalog>();
};

class ModelStore {
 public:
  explicit ModelStore(ModelStoreOptions options) : options_(std::move(options)) {}

  std::vector<StoredModel> list() const;  // of one id only the first found
  // An id (upper and lower case alike when nothing matches exactly), "org/name", a card's alias, a
  // hub's address, or the path of a folder or a .gguf file, which is listed from then on.
  Result<StoredModel> find(const std::string& model);
  // From the downloads folder only; how many bytes that frees.
  Result<uint64_t> remove(const StoredModel& model);
  const ModelStoreOptions& options() const { return options_; }

 private:
  Result<StoredModel> remember(const std::filesystem::path& path);

  const ModelStoreOptions options_;
  mutable std::mutex mutex_;
  std::vector<StoredModel> given_;  // newest last, bounded
};

// Of a folder or file, as the disk counts them: files may have holes.
uint64_t disk_bytes(const std::filesystem::path& path);
// $EXO_HOME, or ~/.cache/exo; with "downloads" appended.
std::filesystem::path default_downloads_folder();
// $EXO_MODELS_READ_ONLY_DIRS, separated by ':'.
std::vector<std::filesystem::path> read_only_model_folders();
// share/exo/models beside the bin folder of `binary`, and `source_tree`/models where that is not
// empty.
std::vector<std::filesystem::path> builtin_model_folders(const std::filesystem::path& binary,
                                                         const std::filesystem::path& source_tree);
bool is_model_path(const std::filesystem::path& path);
std::string model_id_of_path(const std::filesystem::path& path);

}  // namespace exo
