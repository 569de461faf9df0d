// LocalEngine: the InferenceEngine that computes: a Model's shard on a Backend of this machine.
// Owns both. One thread at a time. A batch that does not fit the model, its hidden states or the
// KV room is an Error, never a crash: it may come from another machine.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "inference/inference_engine.h"
#include "model/model_files.h"

namespace exo {

constexpr int kKvBlockSize = 16;  // tokens; the same on every node

struct LocalEngineOptions {
  Shard shard;
  std::string backend = "cpu";
  BackendOptions backend_options;
  WeightFormat weight_format = WeightFormat::as_stored;
  WireDtype wire_dtype = WireDtype::f32;
  int kv_capacity_tokens = 0;
};

// What a placement asks of one of its stages, on the given backend.
LocalEngineOptions engine_options(const Placement& placement, size_t stage_index,
                                  std::string backend, BackendOptions backend_options);

// Loads the shard's weights. Fails for lack of memory or a broken checkpoint.
Result<std::unique_ptr<InferenceEngine>> make_local_engine(const ModelFiles& model,
                                                           const LocalEngineOptions& options);

}  // namespace exo
