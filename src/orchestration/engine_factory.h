// The EngineFactory of real nodes: finds a placement's files on this machine, fetches what the
// stage lacks of them, and loads the stage on a backend. Library and downloads are shared with the
// node; the factory may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "download/downloads.h"
#include "orchestration/model_library.h"
#include "orchestration/stage_thread.h"

namespace exo {

struct EngineFactoryOptions {
  std::string backend = "cpu";
  int threads = 0;                       // 0 = the machine's cores
  std::filesystem::path scratch_folder;  // see BackendOptions
};

// Without `downloads` (null) a stage needs its files here.
EngineFactory make_engine_factory(std::shared_ptr<ModelLibrary> models,
                                  std::shared_ptr<Downloads> downloads,
                                  EngineFactoryOptions options);

}  // namespace exo
