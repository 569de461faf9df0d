// Decoder: the loop over the layers of one shard; the only place that asks which shard it is.
// Borrowed references; the backend's thread.
#pragma once

#include <span>
#include <vector>

#include "core/shard.h"
#include "model/architecture.h"

namespace exo {

// Rows of the embeddings that something else takes the place of: what a picture became.
struct RowReplacement {
  Tensor rows;              // [m, hidden]
  std::vector<int32_t> at;  // [m], in the batch
};

struct DecoderInput {
  std::span<const TokenId> ids;                       // [n], first shard
  Tensor hidden;                                      // [n, hidden], every other shard
  std::span<const int32_t> logit_rows;                // last shard: which rows want logits
  std::span<const RowReplacement> replacements = {};  // first shard
};

// The first layer's input to the last layer's output. On the last shard: logits [m, vocab], empty
// when no row wants any; else hidden states [n, hidden].
Tensor decode(const Architecture& architecture, const Shard& shard, const StepContext& step,
              const DecoderInput& input);

}  // namespace exo
