#include "orchestration/part_downloads.h"

#include <fmt/core.h>

#include <algorithm>

#include "model/model_files.h"
#include "orchestration/stage_files.h"
#include "topology/partitioning_strategy.h"
#include "topology/topology.h"

namespace exo {
namespace {

using State = DownloadStatus::State;

constexpr size_t kMostRemembered = 64;
constexpr int64_t kSilentUs = 10'000'000;
constexpr uint64_t kFirstId = uint64_t{1} << 32;  // Downloads counts below it
constexpr uint64_t kManyIds = uint64_t{1} << 44;  // every number of JSON is exact up to 2^53

Result<void> bring(const ModelSource& source, const Shard& shard, const ShardDownloader& downloader,
                   DownloadWatch& watch) {
  const auto folder = TRY(downloader.prepare(source, watch));
  watch.total_bytes = watch.done_bytes = 0;  // the weights are what people wait for
  if (shard.layers() == shard.layer_count) return downloader.fetch_all(folder, watch);
  const ModelFiles model = TRY(open_model(folder, shard.model_id));
  if (model.card.layer_count != shard.layer_count)
    return invalid_argument(fmt::format("{} has {} layers, not {}", shard.model_id,
                                        model.card.layer_count, shard.layer_count));
  return downloader.fetch(folder, TRY(missing_files(model, folder, shard)).wanted, watch);
}

DownloadStatus failed(Error error) {
  DownloadStatus status;
  status.state = State::failed;
  status.error = std::move(error);
  return status;
}

PartsStatus sum_of(uint64_t id, std::vector<NodePart> nodes) {
  DownloadStatus all;
  all.id = id;
  all.model = nodes.front().shard.model_id;
  const auto any = [&](State state) {
    return std::find_if(nodes.begin(), nodes.end(),
                        [&](const NodePart& part) { return part.status.state == state; });
  };
  if (any(State::running) == nodes.end()) all.state = State::done;
  if (any(State::cancelled) != nodes.end()) all.state = State::cancelled;
  if (const auto part = any(State::failed); part != nodes.end()) {
    all.state = State::failed;
    all.error = part->status.error;
    all.error.message = part->name + ": " + all.error.message;
  }
  for (const NodePart& part : nodes) {
    all.total_bytes += part.status.total_bytes;
    all.done_bytes += part.status.done_bytes;
    all.fetched_bytes += part.status.fetched_bytes;
    if (part.status.state == State::running) all.bytes_per_s += part.status.bytes_per_s;
  }
  return {std::move(all), std::move(nodes)};
}

template <class Map>
void forget_oldest(Map& map) {
  while (map.size() >= kMostRemembered) map.erase(map.begin());
}

bool is_called(const NodeInfo& info, const std::string& name) {
  return info.id.value == name || info.name == name ||
         (name.size() >= 8 && info.id.value.starts_with(name));
}

// Those of that name, or all.
Result<std::vector<NodeInfo>> choose(const CoreView& view, const std::vector<std::string>& names) {
  std::vector<NodeInfo> here = {view.self}, chosen;
  for (const PeerView& peer : view.peers)
    if (peer.linked && peer.state == PeerState::alive) here.push_back(peer.info);
  if (names.empty()) return here;
  for (const std::string& name : names) {
    const auto called = [&](const NodeInfo& info) { return is_called(info, name); };
    const auto found = std::find_if(here.begin(), here.end(), called);
    if (found == here.end())
      return not_found(fmt::format("no node here is called {}; `exo nodes` lists them", name));
    if (std::find_if(std::next(found), here.end(), called) != here.end())
      return invalid_argument(
          fmt::format("several nodes are called {}; give the id that `exo nodes` shows", name));
    if (std::none_of(chosen.begin(), chosen.end(),
                     [&](const NodeInfo& info) { return info.id == found->id; }))
      chosen.push_back(*found);
  }
  return chosen;
}

// As it is loaded now, where it is.
std::vector<Stage> stages_now(const CoreView& view, const ModelCard& card) {
  for (const PlacementInfo& info : view.placements)
    if (info.state == PlacementState::ready && info.placement.card.fingerprint == card.fingerprint)
      return info.placement.stages;
  return {};
}

}  // namespace

Result<std::vector<PartDownloads::Target>> plan_parts(const CoreView& view, const ModelCard& card,
                                                      const CoreOptions& options,
                                                      const std::vector<std::string>& nodes) {
  const std::vector<NodeInfo> chosen = TRY(choose(view, nodes));
  std::vector<Stage> stages = nodes.empty() ? stages_now(view, card) : std::vector<Stage>();
  if (stages.empty()) {
    const auto strategy = TRY(make_partitioning_strategy(options.partitioning, view.self.id));
    PartitionRequest request = options.partition;
    request.weight_format = options.weight_format;
    auto partition = strategy->partition(make_topology(chosen, card.source), card, request);
    // A disk may hold more than all memories here.
    if (!partition.ok() && !nodes.empty() && chosen.size() > 1) return partition.error();
    stages = partition.ok()
                 ? std::move(partition->stages)
                 : std::vector<Stage>{
                       {chosen.front().id, {card.id, 0, card.layer_count, card.layer_count, 0, 1}}};
  }
  std::vector<PartDownloads::Target> targets;
  for (const Stage& stage : stages) {
    PartDownloads::Target target{stage.node, stage.node.value, stage.shard};
    for (const NodeInfo& info : chosen)
      if (info.id == stage.node) target.name = info.name;
    target.shard.model_id = card.id;
    targets.push_back(std::move(target));
  }
  return targets;
}

PartDownloads::PartDownloads(Options options)
    : options_(std::move(options)), next_id_(kFirstId + options_.world->random_u64() % kManyIds) {}

Result<uint64_t> PartDownloads::fetch(const std::string& source, const Shard& shard) {
  const auto known = TRY(parse_model_source(source));
  if (!known) return invalid_argument(source + " names no model of a hub");
  const std::string key = fmt::format("{} {}-{}", source, shard.layer_begin, shard.layer_end);
  return options_.downloads->start(
      shard.model_id, key,
      [source = *known, shard](const ShardDownloader& downloader, DownloadWatch& watch) {
        return bring(source, shard, downloader, watch);
      });
}

DownloadStatus PartDownloads::status_here(uint64_t local_id) const {
  const auto status = options_.downloads->status(local_id);
  return status ? *status : failed(unavailable("it is not remembered any more"));
}

uint64_t PartDownloads::start(const std::string& source, const std::vector<Target>& targets) {
  const std::lock_guard lock(mutex_);
  forget_oldest(together_);
  const uint64_t id = next_id_++;
  Together& together = together_[id];
  together.source = source;
  for (const Target& target : targets) {
    Part part;
    part.node = {target.node, target.name, target.shard, {}};
    if (target.node == options_.self) {
      const auto local = fetch(source, target.shard);
      part.local_id = local.ok() ? *local : 0;
      if (!local.ok()) part.node.status = failed(local.error());
    }
    together.parts.push_back(std::move(part));
  }
  ask(id, together, false);
  return id;
}

// With mutex_ held. A node that is silent for long has failed.
void PartDownloads::ask(uint64_t id, Together& together, bool cancel) {
  for (Part& part : together.parts) {
    DownloadStatus& status = part.node.status;
    if (part.node.node == options_.self || status.state != State::running) continue;
    const bool linked =
        options_.send(part.node.node, PartRequest{id, together.source, part.node.shard, cancel});
    const int64_t now_us = options_.world->now_us();
    if (part.waiting_since_us == 0) part.waiting_since_us = now_us;
    if (now_us - part.waiting_since_us > kSilentUs)
      status = failed(unavailable(linked ? "it does not answer" : "it is not linked any more"));
  }
}

// With mutex_ held.
PartsStatus PartDownloads::look(uint64_t id, Together& together) {
  ask(id, together, false);
  std::vector<NodePart> nodes;
  for (Part& part : together.parts) {
    if (part.local_id != 0) part.node.status = status_here(part.local_id);
    nodes.push_back(part.node);
  }
  return sum_of(id, std::move(nodes));
}

std::optional<PartsStatus> PartDownloads::status(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = together_.find(id);
  return found == together_.end() ? std::nullopt : std::optional(look(id, found->second));
}

std::vector<PartsStatus> PartDownloads::list() {
  const std::lock_guard lock(mutex_);
  std::vector<PartsStatus> all;
  for (auto each = together_.rbegin(); each != together_.rend(); ++each)
    all.push_back(look(each->first, each->second));
  return all;
}

bool PartDownloads::cancel(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = together_.find(id);
  if (found == together_.end()) return false;
  for (const Part& part : found->second.parts)
    if (part.local_id != 0) options_.downloads->cancel(part.local_id);
  ask(id, found->second, true);
  return true;
}

void PartDownloads::on_request(const NodeId& from, const PartRequest& request) {
  const std::lock_guard lock(mutex_);
  const std::pair key(from, request.request);
  DownloadStatus status;
  if (!asked_.contains(key)) {
    forget_oldest(asked_);
    const auto local = options_.for_others
                           ? fetch(request.source, request.shard)
                           : Result<uint64_t>(permission_denied("it fetches nothing by itself"));
    if (local.ok())
      asked_[key] = *local;
    else
      status = failed(local.error());
  }
  if (const auto local = asked_.find(key); local != asked_.end()) {
    if (request.cancel) options_.downloads->cancel(local->second);
    status = status_here(local->second);
  }
  options_.send(from, PartStatus{request.request, status.state, status.error, status.total_bytes,
                                 status.done_bytes, status.fetched_bytes, status.bytes_per_s});
}

void PartDownloads::on_status(const NodeId& from, const PartStatus& told) {
  const std::lock_guard lock(mutex_);
  const auto found = together_.find(told.request);
  if (found == together_.end()) return;
  for (Part& part : found->second.parts) {
    if (part.node.node != from) continue;
    part.waiting_since_us = 0;
    DownloadStatus& status = part.node.status;
    status.state = told.state;
    status.error = told.error;
    status.total_bytes = told.total_bytes;
    status.done_bytes = told.done_bytes;
    status.fetched_bytes = told.fetched_bytes;
    status.bytes_per_s = told.bytes_per_s;
  }
}

}  // namespace exo
