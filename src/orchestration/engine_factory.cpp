#include "orchestration/engine_factory.h"

#include "inference/local_engine.h"
#include "orchestration/stage_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

// Brings one stage's files to this machine, as far as they are not here.
class StageFiles {
 public:
  StageFiles(ModelLibrary& models, Downloads* downloads, const Placement& placement,
             size_t stage_index, const LoadWatch& watch)
      : models_(models),
        downloads_(downloads),
        card_(placement.card),
        shard_(placement.stages[stage_index].shard),
        watch_(watch) {}

  Result<ModelFiles> open() {
    const fs::path path = TRY(find());
    ModelFiles files = TRY(open_model(path, card_.id));
    if (files.card.fingerprint != card_.fingerprint)
      return not_found(path.string() + " has changed since it was placed");
    const MissingFiles missing = TRY(missing_files(files, path, shard_));
    if (missing.missing_bytes == 0 || downloads_ == nullptr || card_.source.empty()) return files;
    TRY(run([&](const ShardDownloader& downloader, DownloadWatch& watch) {
      return downloader.fetch(path, missing.wanted, watch);
    }));
    return open_model(path, card_.id);  // its files may have other names now
  }

 private:
  Result<fs::path> find() {
    auto here = models_.locate(card_);
    if (here.ok() || downloads_ == nullptr || card_.source.empty()) return here;
    const auto source = TRY(parse_model_source(card_.source));
    if (!source) return here;
    fs::path folder;
    TRY(run([&](const ShardDownloader& downloader, DownloadWatch& watch) -> Result<void> {
      folder = TRY(downloader.prepare(*source, watch));
      return {};
    }));
    return folder;
  }

  Result<void> run(const Downloads::Work& work) {
    return downloads_->run(card_.id, work, watch_.stopped, [this](const DownloadStatus& status) {
      watch_.tell("downloading " + card_.id + ": " + describe(status));
    });
  }

  ModelLibrary& models_;
  Downloads* const downloads_;
  const ModelCard& card_;
  const Shard& shard_;
  const LoadWatch& watch_;
};

}  // namespace

EngineFactory make_engine_factory(std::shared_ptr<ModelLibrary> models,
                                  std::shared_ptr<Downloads> downloads,
                                  EngineFactoryOptions options) {
  return
      [models = std::move(models), downloads = std::move(downloads), options = std::move(options)](
          const Placement& placement, size_t stage_index,
          const LoadWatch& watch) -> Result<std::unique_ptr<InferenceEngine>> {
        const ModelFiles files =
            TRY(StageFiles(*models, downloads.get(), placement, stage_index, watch).open());
        BackendOptions backend;
        backend.threads = options.threads;
        backend.exact = placement.exact;
        backend.scratch_folder = options.scratch_folder;
        return make_local_engine(files,
                                 engine_options(placement, stage_index, options.backend, backend));
      };
}

}  // namespace exo
