// KvRoom: how many tokens a sequence may have and how many all sequences share, chosen before a
// model is placed. Pure, deterministic.
//
// The rule. What the request names is kept or refused. What it leaves open is the first of these
// that fits:
//   - the model's whole context, for 16, 8, 4, 2 or 1 sequences at once, then half of it, a quarter
//     ... down to 8,192 tokens for one sequence, as long as weights and KV fill no more than three
//     quarters of each node's usable memory;
//   - the smaller of 8,192 tokens and the context, using all of it;
//   - only when that places the model nowhere: 4,096, 2,048, 1,024 or 512 tokens.
#pragma once

#include <vector>

#include "base/result.h"
#include "core/model_card.h"
#include "topology/partitioning_strategy.h"

namespace exo {

struct KvRoom {
  int context_length = 0;
  int kv_capacity_tokens = 0;
  bool roomy = false;        // may fill three quarters of a node's usable memory, not all
  bool last_resort = false;  // a context smaller than people expect

  uint64_t budget_bytes(uint64_t usable_bytes) const {
    return roomy ? usable_bytes / 4 * 3 : usable_bytes;
  }
};

// In order of preference, never empty.
Result<std::vector<KvRoom>> kv_room_choices(const ModelCard& card, const PartitionRequest& request);

}  // namespace exo
