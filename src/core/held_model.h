// What a node has on its disk of a model that came from a hub, as gossip tells it. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exo {

struct LayerSpan {
  int begin = 0;
  int end = 0;  // half-open
  bool operator==(const LayerSpan&) const = default;
};

// Parts of a model of which every byte is there.
struct HeldLayers {
  std::vector<LayerSpan> spans;  // in order, with gaps between them
  bool embedding = false;        // what the first shard has beside its layers
  bool head = false;             // what the last shard has beside its layers

  bool operator==(const HeldLayers&) const = default;
  bool empty() const { return spans.empty() && !embedding && !head; }
  bool contains(int layer) const {
    for (const LayerSpan& span : spans)
      if (layer >= span.begin && layer < span.end) return true;
    return false;
  }
  // Adds the next layer; layers come in order.
  void append(int layer) {
    if (spans.empty() || spans.back().end != layer) spans.push_back({layer, layer});
    spans.back().end = layer + 1;
  }
};

struct HeldModel {
  std::string source;  // at its commit, as FileRequest names it: "hf.co/ORG/NAME@COMMIT:FILE.gguf"
  std::string model;   // what it is called on that node
  int layer_count = 0;
  HeldLayers layers;
  uint64_t held_bytes = 0, total_bytes = 0;  // of the weight files
  bool complete = false;                     // all of it, proved by its hashes

  bool operator==(const HeldModel&) const = default;
};

}  // namespace exo
