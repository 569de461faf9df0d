// ModelFiles: a checkpoint that was opened and understood, not loaded: the ModelCard (what the
// cluster needs to know), the Config, and the tensors by name. Opening reads headers and small JSON
// files only. Errors name the file and say what is wrong. Immutable, thread-safe.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/model_card.h"
#include "core/placement.h"
#include "core/sampling.h"
#include "model/architecture.h"

namespace exo {

// What an embedding model makes of the rows of a sequence. `pooler` is BERT's own layer over the
// first; `none` keeps the rows.
enum class Pooling { mean, cls, pooler, none };

struct ModelFiles {
  ModelCard card;
  Config config;
  const Architecture* architecture = nullptr;
  std::shared_ptr<const TensorFiles> tensors;
  GenerationDefaults defaults;
  Pooling pooling = Pooling::mean;  // of embedding models
};

// A folder with a Hugging Face checkpoint, a folder with one model in .gguf files, or a .gguf file
// (any part of a split one). `id` is what users call it; empty takes the file's or folder's name.
Result<ModelFiles> open_model(const std::filesystem::path& path, std::string id = "");

// The one model in a folder of .gguf files: its file, or the first part of a split one.
Result<std::filesystem::path> find_gguf(const std::filesystem::path& folder);

// The card as it is when weights are loaded in another format (--quantize): its byte counts change.
Result<ModelCard> card_in_format(const ModelFiles& model, WeightFormat format);

}  // namespace exo
