// KvCache: the memory of past keys and values of one shard, in blocks. Which block belongs to whom
// is the BlockManager's business (inference/). Owned by the engine; the backend's thread only.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "backend/ops.h"
#include "core/shard.h"
#include "model/architecture.h"

namespace exo {

class KvCache {
 public:
  struct Room {
    int block_count = 0;
    int block_size = 0;  // tokens
  };
  static Result<KvCache> allocate(const Architecture& architecture, const Config& config,
                                  const Shard& shard, Backend& backend, Room room);
  // `layer` counts from the model's first.
  KvLayer& layer(int layer) { return layers_[static_cast<size_t>(layer - layer_begin_)]; }

 private:
  int layer_begin_ = 0;
  std::vector<KvLayer> layers_;
};

}  // namespace exo
