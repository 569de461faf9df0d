// Decoder: the loop over the layers of one shard; the only place that asks which shard it is.
// Borrowed references; the backend's thread.
#pragma once

#include <span>

#include "core/shard.h"
#include "model/architecture.h"

namespace exo {

struct DecoderInput {
  std::span<const TokenId> ids;         // [n], first shard
  Tensor hidden;                        // [n, hidden], every other shard
  std::span<const int32_t> logit_rows;  // last shard: which rows want logits
};

// The first layer's input to the last layer's output. On the last shard: logits [m, vocab], empty
// when no row wants any; else hidden states [n, hidden].
Tensor decode(const Architecture& architecture, const Shard& shard, const StepContext& step,
              const DecoderInput& input);

}  // namespace exo
