#include "api/cluster_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "api/held_json.h"

namespace exo {
namespace {

std::string_view name_of(PeerState state) {
  switch (state) {
    case PeerState::alive:
      return "alive";
    case PeerState::suspect:
      return "suspect";
    case PeerState::dead:
      return "dead";
    case PeerState::left:
      return "left";
  }
  return "unknown";
}

std::string_view name_of(PlacementState state) {
  switch (state) {
    case PlacementState::proposed:
      return "proposed";
    case PlacementState::loading:
      return "loading";
    case PlacementState::ready:
      return "ready";
    case PlacementState::draining:
      return "draining";
    case PlacementState::failed:
      return "failed";
  }
  return "unknown";
}

std::string_view name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::as_stored:
      return "as_stored";
    case WeightFormat::q8_0:
      return "q8_0";
    case WeightFormat::q4_0:
      return "q4_0";
  }
  return "unknown";
}

std::string id_text(PlacementId id) { return fmt::format("{:016x}", id.value); }

uint64_t bytes_of(const ModelCard& card, const Shard& shard) {
  uint64_t sum = (shard.first() ? card.embedding_bytes : 0) + (shard.last() ? card.head_bytes : 0);
  for (int layer = std::max(shard.layer_begin, 0); layer < shard.layer_end; ++layer)
    if (static_cast<size_t>(layer) < card.layer_bytes.size())
      sum += card.layer_bytes[static_cast<size_t>(layer)];
  return sum;
}

JsonObject device_json(const DeviceCapabilities& device) {
  JsonArray accelerators;
  for (const Accelerator& accelerator : device.accelerators)
    accelerators.push_back(JsonObject{{"name", accelerator.name},
                                      {"memory_total_bytes", accelerator.memory_total_bytes},
                                      {"memory_free_bytes", accelerator.memory_free_bytes}});
  return JsonObject{{"host_name", device.host_name},
                    {"os", device.os},
                    {"arch", device.arch},
                    {"chip", device.chip},
                    {"isa", device.isa},
                    {"cores", device.cores},
                    {"memory_total_bytes", device.memory_total_bytes},
                    {"memory_free_bytes", device.memory_free_bytes},
                    {"read_bandwidth_gb_per_s", device.read_bandwidth_gb_per_s},
                    {"gemm_gflops", device.gemm_gflops},
                    {"accelerators", std::move(accelerators)}};
}

// The layers each node holds, of placements that are in use.
JsonArray shards_of(const NodeId& node, const std::vector<PlacementInfo>& placements) {
  JsonArray shards;
  for (const PlacementInfo& info : placements) {
    if (info.state == PlacementState::failed) continue;
    for (const Stage& stage : info.placement.stages) {
      if (stage.node != node) continue;
      shards.push_back(JsonObject{{"model", info.placement.card.id},
                                  {"placement", id_text(info.placement.id)},
                                  {"layer_begin", stage.shard.layer_begin},
                                  {"layer_end", stage.shard.layer_end},
                                  {"layer_count", stage.shard.layer_count},
                                  {"bytes", bytes_of(info.placement.card, stage.shard)}});
    }
  }
  return shards;
}

JsonObject node_json(const NodeInfo& info, const std::vector<PlacementInfo>& placements) {
  JsonArray addresses;
  for (const PeerAddress& address : info.addresses)
    addresses.push_back(JsonObject{{"host", address.host},
                                   {"port", address.port},
                                   {"interface_type", address.interface_type}});
  return JsonObject{{"id", info.id.value},
                    {"name", info.name},
                    {"software", info.software},
                    {"api_port", info.api_port},
                    {"addresses", std::move(addresses)},
                    {"chip", info.device.chip},
                    {"memory_total_bytes", info.device.memory_total_bytes},
                    {"memory_free_bytes", info.device.memory_free_bytes},
                    {"device", device_json(info.device)},
                    {"shards", shards_of(info.id, placements)},
                    {"held", held_json(info, placements)}};
}

JsonArray nodes_json(const CoreView& core, int64_t now_us) {
  JsonArray nodes;
  JsonObject self = node_json(core.self, core.placements);
  self["self"] = true;
  self["state"] = "alive";
  self["linked"] = true;
  self["last_heard_ms"] = 0;
  nodes.push_back(std::move(self));
  for (const PeerView& peer : core.peers) {
    JsonObject node = node_json(peer.info, core.placements);
    node["self"] = false;
    node["state"] = name_of(peer.state);
    node["linked"] = peer.linked;
    node["last_heard_ms"] = peer.last_heard_us == 0
                                ? Json(nullptr)
                                : Json(std::max<int64_t>(0, (now_us - peer.last_heard_us) / 1000));
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// Our own links as measured here, the others' as they report them.
JsonArray links_json(const CoreView& core) {
  std::map<std::pair<std::string, std::string>, std::pair<double, double>> links;
  for (const PeerView& peer : core.peers) {
    for (const LinkInfo& link : peer.info.links)
      if (peer.state == PeerState::alive)
        links[{peer.info.id.value, link.to.value}] = {link.rtt_us, link.bandwidth_mb_per_s};
    if (peer.linked)
      links[{core.self.id.value, peer.info.id.value}] = {peer.rtt_us, peer.bandwidth_mb_per_s};
  }
  JsonArray out;
  for (const auto& [ends, speed] : links)
    out.push_back(JsonObject{{"from", ends.first},
                             {"to", ends.second},
                             {"rtt_us", speed.first},
                             {"bandwidth_mb_per_s", speed.second}});
  return out;
}

JsonObject placement_json(const PlacementInfo& info) {
  const Placement& placement = info.placement;
  JsonArray stages;
  for (const Stage& stage : placement.stages)
    stages.push_back(JsonObject{{"node", stage.node.value},
                                {"layer_begin", stage.shard.layer_begin},
                                {"layer_end", stage.shard.layer_end},
                                {"bytes", bytes_of(placement.card, stage.shard)}});
  return JsonObject{{"id", id_text(placement.id)},
                    {"epoch", placement.epoch},
                    {"state", name_of(info.state)},
                    {"why", info.why},
                    {"model", placement.card.id},
                    {"layer_count", placement.card.layer_count},
                    {"strategy", placement.strategy},
                    {"weight_format", name_of(placement.weight_format)},
                    {"wire_dtype", placement.wire_dtype == WireDtype::bf16 ? "bf16" : "f32"},
                    {"exact", placement.exact},
                    {"context_length", placement.context_length},
                    {"kv_capacity_tokens", placement.kv_capacity_tokens},
                    {"stages", std::move(stages)}};
}

}  // namespace

JsonObject topology_json(const NodeStatus& status, int64_t now_us, int64_t wall_ms) {
  JsonArray placements, foreign, urls;
  for (const PlacementInfo& info : status.core.placements)
    placements.push_back(placement_json(info));
  for (const ForeignNode& node : status.foreign)
    foreign.push_back(
        JsonObject{{"cluster_id", node.cluster_id}, {"name", node.name}, {"host", node.host}});
  for (const std::string& url : status.api_urls) urls.push_back(Json(url));
  JsonObject out;
  out["self"] = status.core.self.id.value;
  out["cluster_id"] = status.cluster_id;
  out["version"] = status.version;
  out["engine"] = status.engine;
  const int64_t uptime_ms = status.started_wall_ms == 0 ? 0 : wall_ms - status.started_wall_ms;
  out["uptime_s"] = std::max<int64_t>(0, uptime_ms) / 1000;
  out["api_port"] = status.api_port;
  out["api_urls"] = std::move(urls);
  out["node_port"] = status.node_port;
  out["nodes"] = nodes_json(status.core, now_us);
  out["links"] = links_json(status.core);
  out["placements"] = std::move(placements);
  out["foreign_count"] = foreign.size();
  out["foreign"] = std::move(foreign);
  out["requests"] = JsonObject{{"running", status.core.running_sessions},
                               {"started", status.requests_started},
                               {"failed", status.requests_failed},
                               {"tokens_generated", status.tokens_generated},
                               {"prompt_tokens_processed", status.prompt_tokens_processed}};
  return out;
}

JsonObject model_json(const ModelStatus& model, int64_t created, bool with_source) {
  const ModelCard& card = model.card;
  JsonObject out;
  out["id"] = card.id;
  out["object"] = "model";
  out["created"] = created;
  out["owned_by"] = "exo";
  out["loaded"] = model.loaded;
  out["family"] = card.family;
  out["context_length"] = card.context_length;
  out["layer_count"] = card.layer_count;
  out["parameter_count"] = card.parameter_count;
  out["weight_dtype"] = card.weight_dtype;
  out["size_bytes"] = card.total_bytes();
  out["chat"] = card.has_chat_template;
  out["vision"] = card.vision;
  if (model.file_bytes > 0) {  // fetched from a hub
    out["file_bytes"] = model.file_bytes;
    out["held_bytes"] = model.held_bytes;
    out["downloading"] = model.downloading;
  }
  if (with_source) out["source"] = model.source;
  return out;
}

JsonObject health_json(const NodeStatus& status) {
  return JsonObject{{"status", "ok"},
                    {"service", "exo"},
                    {"version", status.version},
                    {"node_id", status.core.self.id.value},
                    {"name", status.core.self.name},
                    {"cluster_id", status.cluster_id}};
}

}  // namespace exo
