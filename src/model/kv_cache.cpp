#include "model/kv_cache.h"

#include <fmt/core.h>

namespace exo {

Result<KvCache> KvCache::allocate(const Architecture& architecture, const Config& config,
                                  const Shard& shard, Backend& backend, Room room) {
  KvCache cache;
  cache.layer_begin_ = shard.layer_begin;
  for (int layer = shard.layer_begin; layer < shard.layer_end; ++layer) {
    const KvSpec spec = architecture.kv(config, layer);
    const auto make = [&](int dim) {
      return backend.allocate(backend.kv_dtype(),
                              {room.block_count, spec.kv_heads, room.block_size, dim});
    };
    auto keys = make(spec.k_dim);
    if (!keys.ok()) return keys.error().in(fmt::format("KV cache of layer {}", layer));
    auto values = make(spec.v_dim);
    if (!values.ok()) return values.error().in(fmt::format("KV cache of layer {}", layer));
    cache.layers_.push_back({std::move(*keys), std::move(*values), room.block_size});
  }
  return cache;
}

}  // namespace exo
