// ModelStore: where models lie on this machine. Sees names and paths only; what is inside a folder
// is model/'s to read. A model is a folder with a config.json or a
// .gguf file in it, or a .gguf file. Found are, in this
// order: the built-in models, everything directly under the downloads folder, and what users gave
// by path since the start. Thread-safe. Errors say where was looked.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace exo {

struct StoredModel {
  std::string
      id;  // folder's or file's name without ".gguf"; "org--name" is found as "org/name" too
  std::filesystem::path path;  // absolute
};

struct ModelStoreOptions {
  std::vector<std::filesystem::path> builtin;  // folders whose subfolders are models; may not exist
  std::filesystem::path downloads;             // may not exist
};

class ModelStore {
 public:
  explicit ModelStore(ModelStoreOptions options) : options_(std::move(options)) {}

  std::vector<StoredModel> list() const;  // of one id only the first found
  // An id (upper and lower case alike when nothing matches exactly), "org/name", or the path of a
  // folder or a .gguf file, which is listed from then on.
  Result<StoredModel> find(const std::string& model);

 private:
  Result<StoredModel> remember(const std::filesystem::path& path);

  const ModelStoreOptions options_;
  mutable std::mutex mutex_;
  std::vector<StoredModel> given_;  // newest last, bounded
};

// $EXO_HOME, or ~/.cache/exo; with "downloads" appended.
std::filesystem::path default_downloads_folder();
// share/exo/models beside the bin folder of `binary`, and `source_tree`/models where that is not
// empty.
std::vector<std::filesystem::path> builtin_model_folders(const std::filesystem::path& binary,
                                                         const std::filesystem::path& source_tree);
bool is_model_path(const std::filesystem::path& path);
std::string model_id_of_path(const std::filesystem::path& path);

}  // namespace exo
