// Placement: a partition made concrete. It belongs to one loaded model, is frozen when proposed,
// and every message about that model names it. Of two placements of a model made at once the lower
// (epoch, id) wins. Ring order = order of `stages`; stages[0] is the head (owner of layer 0, runs
// the Scheduler), the last one is the tail (samples). Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/model_card.h"
#include "core/shard.h"

namespace exo {

enum class WeightFormat { as_stored, q8_0, q4_0 };  // what --quantize asks of every node
enum class WireDtype { f32, bf16 };                 // hidden states between stages

struct Stage {
  NodeId node;
  Shard shard;
  bool operator==(const Stage&) const = default;
};

struct Placement {
  PlacementId id;
  uint64_t epoch = 0;
  ModelCard card;
  std::vector<Stage> stages;
  std::vector<NodeId>
      considered;        // the members it was planned over, sorted: stale when membership differs
  std::string strategy;  // "ring-memory-weighted", "single", "manual:0-5,6-11"
  WeightFormat weight_format = WeightFormat::as_stored;
  WireDtype wire_dtype = WireDtype::f32;
  bool exact = false;          // float32 arithmetic, no activation quantisation, on every stage
  int context_length = 0;      // tokens one sequence may have
  int kv_capacity_tokens = 0;  // tokens all sequences together may hold, the same on every stage

  const NodeId& head() const { return stages.front().node; }
  const NodeId& tail() const { return stages.back().node; }
};

}  // namespace exo
