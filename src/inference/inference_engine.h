// InferenceEngine: applies Batches to one Shard. The real one is a Model on a Backend; the fake one
// (tests, simulator) is a deterministic function of ids and layers that notices every missing or
// misplaced KV write. One thread at a time. A failed step leaves the cache as the next batch
// expects only for `commands`; the caller starts a new run.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "core/shard.h"

namespace exo {

struct StepOutput {
  HiddenStates hidden;        // every shard but the last: all rows
  std::vector<float> logits;  // the last shard: [logit rows of all entries in order, vocab_size]
  int vocab_size = 0;
};

class InferenceEngine {
 public:
  virtual ~InferenceEngine() = default;
  virtual const Shard& shard() const = 0;
  // `hidden` is null on the first shard (ids are embedded), else the rows of the batch.
  virtual Result<StepOutput> step(const Batch& batch, const HiddenStates* hidden) = 0;
  virtual int block_size() const = 0;  // tokens per KV block
  virtual int kv_block_count() const = 0;
  virtual uint64_t memory_used_bytes() const = 0;
};

}  // namespace exo
