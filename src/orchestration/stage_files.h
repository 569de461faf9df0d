// Which bytes of a model's files a shard needs and this device has not. Reads headers only.
#pragma once

#include <filesystem>

#include "core/shard.h"
#include "download/shard_downloader.h"
#include "model/model_files.h"

namespace exo {

struct MissingFiles {
  // All that the shard loads, also what is here of it, by file; empty when all of it is here.
  ShardDownloader::Ranges wanted;
  uint64_t missing_bytes = 0;
};
// `folder`: where the model's files lie. Errors name the tensor.
Result<MissingFiles> missing_files(const ModelFiles& model, const std::filesystem::path& folder,
                                   const Shard& shard);

}  // namespace exo
