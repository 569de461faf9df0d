#include "api/held_json.h"

namespace exo {
namespace {

JsonArray spans_json(const std::vector<LayerSpan>& spans) {
  JsonArray out;
  for (const LayerSpan& span : spans)
    out.push_back(JsonObject{{"layer_begin", span.begin}, {"layer_end", span.end}});
  return out;
}

// What is held beside the node's stages, where the model is placed.
HeldLayers spare_layers(const NodeId& node, const HeldModel& model,
                        const std::vector<PlacementInfo>& placements) {
  bool placed = false;
  HeldLayers own, spare;
  for (const PlacementInfo& info : placements) {
    if (info.placement.card.source != model.source || info.state == PlacementState::failed)
      continue;
    placed = true;
    for (const Stage& stage : info.placement.stages)
      if (stage.node == node) own.spans.push_back({stage.shard.layer_begin, stage.shard.layer_end});
  }
  for (int layer = 0; placed && layer < model.layer_count; ++layer)
    if (model.layers.contains(layer) && !own.contains(layer)) spare.append(layer);
  return spare;
}

JsonObject layers_json(const NodeId& node, const HeldModel& model,
                       const std::vector<PlacementInfo>& placements) {
  return JsonObject{{"layer_count", model.layer_count},
                    {"layers", spans_json(model.layers.spans)},
                    {"spare", spans_json(spare_layers(node, model, placements).spans)},
                    {"embedding", model.layers.embedding},
                    {"head", model.layers.head},
                    {"held_bytes", model.held_bytes},
                    {"total_bytes", model.total_bytes},
                    {"complete", model.complete}};
}

}  // namespace

JsonArray held_json(const NodeInfo& node, const std::vector<PlacementInfo>& placements) {
  JsonArray out;
  for (const HeldModel& model : node.held) {
    JsonObject one = layers_json(node.id, model, placements);
    one["model"] = model.model;
    one["source"] = model.source;
    out.push_back(std::move(one));
  }
  return out;
}

JsonArray holders_json(const CoreView& core, const std::string& source) {
  JsonArray out;
  const auto add = [&](const NodeInfo& node) {
    for (const HeldModel& model : node.held) {
      if (model.source != source) continue;
      JsonObject one = layers_json(node.id, model, core.placements);
      one["node"] = node.id.value;
      one["name"] = node.name;
      out.push_back(std::move(one));
    }
  };
  add(core.self);
  for (const PeerView& peer : core.peers)
    if (peer.state == PeerState::alive || peer.state == PeerState::suspect) add(peer.info);
  return out;
}

}  // namespace exo
