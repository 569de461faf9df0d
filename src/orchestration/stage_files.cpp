#include "orchestration/stage_files.h"

#include "model/weights.h"

namespace exo {

Result<MissingFiles> missing_files(const ModelFiles& model, const std::filesystem::path& folder,
                                   const Shard& shard) {
  MissingFiles files;
  std::error_code ignored;
  const auto home = std::filesystem::weakly_canonical(folder, ignored);  // as open_model names them
  for (const std::string& name :
       tensors_of_shard(*model.architecture, model.config, *model.tensors, shard)) {
    for (const TensorFiles::Place& place : TRY(model.tensors->places(name))) {
      if (!place.here) files.missing_bytes += place.bytes.size();
      files.wanted[place.file.lexically_relative(home).generic_string()].add(place.bytes);
    }
  }
  if (files.missing_bytes == 0) files.wanted.clear();
  return files;
}

}  // namespace exo
