// MemoryNeed: how many bytes a range of layers takes on the node that owns it: its weights in the
// requested format, the embedding on the first shard, the head on the last (a tied embedding lies
// on both ends, once where both are one node), and its part of the KV cache. Immutable,
// thread-safe. make() refuses cards whose numbers contradict each other; sums saturate instead of
// wrapping.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/model_card.h"
#include "core/placement.h"

namespace exo {

class MemoryNeed {
 public:
  // Quantising at load shrinks the layers; embedding and head are counted as stored, which is never
  // too little.
  static Result<MemoryNeed> make(const ModelCard& card, WeightFormat format);

  int layer_count() const { return static_cast<int>(prefix_.size()) - 1; }
  uint64_t weight_bytes(int layer_begin, int layer_end) const;
  uint64_t kv_bytes(int layers, int kv_tokens) const;
  uint64_t shard_bytes(int layer_begin, int layer_end, int kv_tokens) const;

 private:
  std::vector<uint64_t> prefix_;  // prefix_[i] = bytes of layers before i
  uint64_t embedding_bytes_ = 0;
  uint64_t head_bytes_ = 0;
  uint64_t shared_bytes_ = 0;
  uint64_t kv_bytes_per_token_per_layer_ = 0;
};

uint64_t saturating_add(uint64_t a, uint64_t b);
uint64_t saturating_multiply(uint64_t a, uint64_t b);
std::string in_gb(uint64_t bytes);  // "3.2 GB", "85 MB": for people, decimal units

}  // namespace exo
