#include "orchestration/engine_factory.h"

#include "inference/local_engine.h"

namespace exo {

EngineFactory make_engine_factory(std::shared_ptr<ModelLibrary> models,
                                  EngineFactoryOptions options) {
  return [models = std::move(models), options = std::move(options)](
             const Placement& placement,
             size_t stage_index) -> Result<std::unique_ptr<InferenceEngine>> {
    const std::filesystem::path path = TRY(models->locate(placement.card));
    const ModelFiles files = TRY(open_model(path, placement.card.id));
    if (files.card.fingerprint != placement.card.fingerprint)
      return not_found(path.string() + " has changed since it was placed");
    BackendOptions backend;
    backend.threads = options.threads;
    backend.exact = placement.exact;
    backend.scratch_folder = options.scratch_folder;
    return make_local_engine(files,
                             engine_options(placement, stage_index, options.backend, backend));
  };
}

}  // namespace exo
