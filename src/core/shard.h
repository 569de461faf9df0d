// Shard: the part of one model that one node computes: a half-open range of layers, and this rank's
// slice of each of them (all of it unless world > 1; tensor parallelism uses the slice).
#pragma once

#include <string>

namespace exo {

struct Shard {
  std::string model_id;
  int layer_begin = 0;
  int layer_end = 0;    // half-open
  int layer_count = 0;  // of the whole model
  int rank = 0;
  int world = 1;

  bool first() const { return layer_begin == 0; }         // embeds
  bool last() const { return layer_end == layer_count; }  // final norm, head, sampling
  int layers() const { return layer_end - layer_begin; }
  bool operator==(const Shard&) const = default;
};

}  // namespace exo
