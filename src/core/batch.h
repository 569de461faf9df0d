// Batch: what one step computes. The head makes it; every later stage applies it to its own layers,
// exactly once and in order. The head's batches of one placement form a numbered stream, a *run*;
// when results stay out the head starts a new run from what is committed (see docs/protocol.md).
// Cache commands travel inside the batch, before its entries, so that the KV state of every stage
// is a function of the stream and no stage ever evicts on its own. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "core/ids.h"
#include "core/image.h"
#include "core/placement.h"

namespace exo {

// Cache commands, applied in order before the entries are computed. Lengths and positions in
// tokens.
struct TrimSequence {
  SessionId session;
  int length = 0;
};  // forget positions >= length
struct ReleaseSequence {
  SessionId session;
};  // forget the sequence
struct ShareSequence {
  SessionId from;
  SessionId to;
  int length = 0;
};  // `to` starts as the first `length` positions of `from`
using CacheCommand = std::variant<TrimSequence, ReleaseSequence, ShareSequence>;

struct BatchEntry {
  SessionId session;
  int first_position = 0;    // absolute; KV writes are addressed by it and idempotent
  std::vector<TokenId> ids;  // the inputs; empty ids with `count` on stages after the head
  int count = 0;             // rows of this entry == ids.size() at the head
  int logit_rows =
      0;  // how many of the last rows want logits: 1 to sample, 0 inside a prompt, count for probes
  // Tokens the sequence has by now, a prompt's chunks counting the whole prompt: some models turn
  // long sequences otherwise (longrope).
  int sequence_length = 0;
  // At the head only, never on the wire: every picture that has a row in this entry.
  std::vector<PlacedImage> images;
};

struct Batch {
  PlacementId placement;
  uint64_t epoch = 0;
  uint64_t run = 0;
  uint64_t number = 0;  // 0, 1, 2 ... within the run
  std::vector<CacheCommand> commands;
  std::vector<BatchEntry> entries;

  int rows() const {
    int sum = 0;
    for (const BatchEntry& entry : entries) sum += entry.count;
    return sum;
  }
};

// Rows of hidden states, row-major [rows, width], in the wire dtype, shared without copying.
struct HiddenStates {
  WireDtype dtype = WireDtype::f32;
  int rows = 0;
  int width = 0;
  std::shared_ptr<const std::vector<std::byte>> bytes;  // rows * width * (4 or 2), little endian
};

}  // namespace exo
