// The EngineFactory of real nodes: finds a placement's files on this machine and loads one stage of
// it on a backend. The library is shared with the node; the factory may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "orchestration/model_library.h"
#include "orchestration/stage_thread.h"

namespace exo {

struct EngineFactoryOptions {
  std::string backend = "cpu";
  int threads = 0;                       // 0 = the machine's cores
  std::filesystem::path scratch_folder;  // see BackendOptions
};

EngineFactory make_engine_factory(std::shared_ptr<ModelLibrary> models,
                                  EngineFactoryOptions options);

}  // namespace exo
