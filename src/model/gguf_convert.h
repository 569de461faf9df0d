// Writing a checkpoint down in another format: any into GGUF, a Hugging Face checkpoint into
// safetensors. One tensor's part at a time is in memory. The file gets its name only when it is
// whole. Errors say what the target cannot hold; `cancelled` when the progress callback says so.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "model/model_files.h"

namespace exo {

struct ConvertOptions {
  // Nothing: as stored, where the target has that type.
  std::optional<DType> target;
  // For GGUF: keys below "general." and "tokenizer.", where the source has none.
  JsonObject metadata;
  int threads = 0;  // 0 = the machine's cores
  // Bytes written and to write; false stops.
  std::function<bool(uint64_t done, uint64_t total)> progress;
};

struct ConvertReport {
  uint64_t bytes = 0;
  std::map<std::string, int> tensors;  // how many of each type
};

Result<ConvertReport> convert_to_gguf(const ModelFiles& model, const std::filesystem::path& file,
                                      const ConvertOptions& options);
// model.safetensors, config.json and the small files beside them, into a folder.
Result<ConvertReport> convert_to_safetensors(const ModelFiles& model,
                                             const std::filesystem::path& folder,
                                             const ConvertOptions& options);

// What a tensor called `name` of `stored` becomes: matrices take the target as far as their rows
// are whole blocks (else a format near it), small tensors and what routes experts stay exact.
// `tied`: the embedding is the output too.
DType converted_dtype(const std::string& name, const TensorInfo& stored,
                      std::optional<DType> target, bool tied);

}  // namespace exo
