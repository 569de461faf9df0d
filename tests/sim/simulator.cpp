#include "simulator.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "inference/fake_engine.h"
#include "topology/memory_need.h"
#include "trace.h"

namespace exo::sim {
namespace {

constexpr int64_t kDialUs = 400'000;    // discovery offers every missing link this often
constexpr int64_t kBatchUs = 2'000;     // computing one batch
constexpr int64_t kRowUs = 50;          // and each of its rows
constexpr int64_t kMeasureUs = 30'000;  // from a change of memory to its measurement

uint64_t shard_bytes(const Placement& placement, size_t index) {
  const auto need = MemoryNeed::make(placement.card, placement.weight_format);
  const Shard& shard = placement.stages[index].shard;
  return need->shard_bytes(shard.layer_begin, shard.layer_end, placement.kv_capacity_tokens);
}

size_t size_of(const Message& message) {
  if (const auto* forward = std::get_if<Forward>(&message))
    return forward->hidden.bytes ? forward->hidden.bytes->size() : 0;
  if (const auto* probe = std::get_if<BandwidthProbe>(&message)) return probe->filler.size();
  return 100;
}

}  // namespace

Simulator::Simulator(const Options& options)
    : options_(options), random_(options.seed), network_(options.network, options.seed * 31 + 7) {
  at(0, [this] { discover(); });
}

void Simulator::at(int64_t when_us, std::function<void()> action) {
  events_.push({std::max(when_us, now_us_), next_order_++, std::move(action)});
}

bool Simulator::run_until(int64_t deadline_us, const std::function<bool()>& condition) {
  while (!condition()) {
    if (events_.empty() || events_.top().at_us > deadline_us) {
      now_us_ = std::max(now_us_, deadline_us);
      return condition();
    }
    std::function<void()> action = std::move(const_cast<Event&>(events_.top()).action);
    now_us_ = events_.top().at_us;
    events_.pop();
    action();
  }
  return true;
}

void Simulator::run_until(int64_t when_us) {
  run_until(when_us, [] { return false; });
}

void Simulator::trace(const NodeId& node, const std::string& text) {
  for (const char c : fmt::format("{} {} {}", now_us_, node.value, text))
    trace_hash_ = (trace_hash_ ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  if (options_.verbose)
    fmt::print("{:10.6f} {} {}\n", static_cast<double>(now_us_) / 1e6, node.value, text);
}

DeviceCapabilities Simulator::device(const SimNode& node) const {
  DeviceCapabilities device;
  device.host_name = node.name;
  device.cores = 4;
  device.memory_total_bytes = node.options.memory_bytes;
  device.memory_free_bytes =
      node.options.memory_bytes - std::min(node.options.memory_bytes, node.used_bytes);
  return device;
}

NodeId Simulator::add_node(const std::string& name, const SimNodeOptions& options) {
  const NodeId id{name};
  SimNode& node = nodes_[id];
  node.name = name;
  node.options = options;
  last_fault_us_ = now_us_;
  start(id);
  return id;
}

void Simulator::start(const NodeId& id) {
  SimNode& node = nodes_.at(id);
  ++node.life;
  node.stages.clear();
  node.used_bytes = 0;
  CoreOptions options;
  options.self.id = id;
  options.self.incarnation = 1000 + node.life;
  options.self.name = node.name;
  options.self.addresses = {{"10.0.0.1", 1, "ethernet"}};
  options.self.device = device(node);
  options.partitioning = options_.partitioning;
  options.seed = random_.next();
  node.core = make_node_core(options, now_us_);
  trace(id, "starts");
  schedule_tick(id);
}

void Simulator::schedule_tick(const NodeId& id) {
  SimNode& node = nodes_.at(id);
  if (!node.core) return;
  const int64_t due_us = std::max(node.core->next_deadline_us(), now_us_ + 1);
  if (node.tick_at_us > now_us_ && node.tick_at_us <= due_us) return;
  node.tick_at_us = due_us;
  at(due_us, [this, id, life = node.life, due_us] {
    SimNode& later = nodes_.at(id);
    if (!later.core || later.life != life || later.tick_at_us != due_us) return;
    give(id, Tick{});
  });
}

void Simulator::give(const NodeId& id, CoreEvent event) {
  SimNode& node = nodes_.at(id);
  if (!node.core) return;
  const uint64_t life = node.life;
  std::vector<CoreEffect> effects = node.core->handle(std::move(event), now_us_);
  for (CoreEffect& effect : effects) {
    if (nodes_.at(id).life != life) return;
    perform(id, effect);
  }
  schedule_tick(id);
}

void Simulator::command(const NodeId& node, CoreEvent event) { give(node, std::move(event)); }

void Simulator::perform(const NodeId& id, CoreEffect& effect) {
  const auto* sent = std::get_if<SendMessage>(&effect);
  const bool regular = sent != nullptr && (std::holds_alternative<Heartbeat>(sent->message) ||
                                           std::holds_alternative<Gossip>(sent->message));
  if (!regular) trace(id, describe(effect));
  std::visit(
      [&](auto& e) {
        using Effect = std::decay_t<decltype(e)>;
        if constexpr (std::is_same_v<Effect, SendMessage>) {
          send(id, e.to, std::move(e.message));
        } else if constexpr (std::is_same_v<Effect, ConnectPeer>) {
          const NodeId peer = e.peer;
          at(now_us_ + 2'000, [this, id, peer] { link(id, peer); });
        } else if constexpr (std::is_same_v<Effect, DisconnectPeer>) {
          cut(id, e.peer, true);
        } else if constexpr (std::is_same_v<Effect, LoadShard>) {
          load(id, e);
        } else if constexpr (std::is_same_v<Effect, UnloadShard>) {
          unload(id, e.placement);
        } else if constexpr (std::is_same_v<Effect, SubmitToStage>) {
          const auto stage = nodes_.at(id).stages.find(e.placement);
          if (stage == nodes_.at(id).stages.end() || !stage->second.runner) return;
          stage->second.runner->submit(std::move(e.command));
          at(now_us_, [this, id, placement = e.placement] { step(id, placement); });
        } else if constexpr (std::is_same_v<Effect, EmitTokens>) {
          SimRequest& request = requests_.at(e.request);
          CHECK(!request.done() || request.cancelled, "tokens after the end");
          const int expected = static_cast<int>(request.prompt_ids.size() + request.tokens.size());
          CHECK(e.event.position == expected, "tokens out of order");
          for (const TokenId token : e.event.ids) {
            request.tokens.push_back(token);
            request.token_times_us.push_back(now_us_);
          }
          request.finish = e.event.finish;
          if (request.done()) request.ended_us = now_us_;
        } else if constexpr (std::is_same_v<Effect, SessionFailed>) {
          const auto request = requests_.find(e.request);
          if (request == requests_.end()) return;
          CHECK(!request->second.done(), "failed after the end");
          request->second.failed = true;
          request->second.error = e.error;
          request->second.ended_us = now_us_;
        } else if constexpr (std::is_same_v<Effect, SessionNotice>) {
          requests_.at(e.request).notices.push_back(e.text);
        }
      },
      effect);
}

void Simulator::send(const NodeId& from, const NodeId& to, Message message) {
  ++messages_;
  if (now_us_ / 1'000'000 != second_) {
    second_ = now_us_ / 1'000'000;
    this_second_ = 0;
  }
  busiest_second_ = std::max(busiest_second_, ++this_second_);
  const uint64_t link = network_.link(from, to);
  if (link == 0) return;
  auto shared = std::make_shared<const Message>(std::move(message));
  for (const int64_t when_us : network_.arrivals(from, to, now_us_, size_of(*shared))) {
    const auto deliver = [this, from, to, link, shared](auto&& self) -> void {
      if (network_.link(from, to) != link || !nodes_.at(to).core) return;
      if (network_.blocked(from, to)) {  // TCP tries again until the link is given up
        at(now_us_ + 50'000, [self] { self(self); });
        return;
      }
      give(to, MessageReceived{from, *shared});
    };
    at(when_us, [deliver] { deliver(deliver); });
  }
}

// --- links
// ----------------------------------------------------------------------------------------

void Simulator::discover() {
  at(now_us_ + kDialUs, [this] { discover(); });
  for (auto a = nodes_.begin(); a != nodes_.end(); ++a)
    for (auto b = std::next(a); b != nodes_.end(); ++b)
      if (network_.link(a->first, b->first) == 0) {
        const NodeId from = a->first, to = b->first;
        at(now_us_ + random_.between(1'000, 50'000), [this, from, to] { link(from, to); });
      }
}

void Simulator::link(const NodeId& a, const NodeId& b) {
  const auto far = nodes_.find(b);
  if (far == nodes_.end() || !nodes_.at(a).core || !far->second.core) return;
  if (network_.link(a, b) != 0 || network_.blocked(a, b)) return;
  const uint64_t number = network_.make_link(a, b);
  trace(a, "linked with " + b.value);
  at(network_.in_order(a, b, now_us_ + 300), [this, a, b, number] {
    if (network_.link(a, b) == number) give(b, LinkUp{a});
  });
  give(a, LinkUp{b});
}

void Simulator::cut(const NodeId& a, const NodeId& b, bool tell_both) {
  if (network_.link(a, b) == 0) return;
  network_.cut_link(a, b);
  trace(a, "cut from " + b.value);
  const auto tell = [&](const NodeId& who, const NodeId& about) {
    const uint64_t life = nodes_.at(who).life;
    at(now_us_ + random_.between(500, 5'000), [this, who, about, life] {
      if (nodes_.at(who).life == life && network_.link(who, about) == 0) give(who, LinkDown{about});
    });
  };
  if (tell_both) tell(a, b);
  tell(b, a);
}

void Simulator::block(const NodeId& a, const NodeId& b, bool silent) {
  last_fault_us_ = now_us_;
  trace(a, fmt::format("{} from {}", silent ? "silently blocked" : "blocked", b.value));
  network_.block(a, b);
  if (!silent) cut(a, b, true);
}

void Simulator::unblock(const NodeId& a, const NodeId& b) {
  last_fault_us_ = now_us_;
  trace(a, "unblocked from " + b.value);
  network_.unblock(a, b);
}

// --- lives
// ----------------------------------------------------------------------------------------

void Simulator::end_life(const NodeId& node) {
  SimNode& gone = nodes_.at(node);
  gone.core.reset();
  ++gone.life;
  gone.stages.clear();
  last_fault_us_ = now_us_;
  for (auto& [number, request] : requests_)
    if (request.asker == node && !request.done()) {
      request.orphaned = true;
      request.ended_us = now_us_;
    }
}

void Simulator::kill(const NodeId& node, bool silent) {
  if (!alive(node)) return;
  trace(node, silent ? "is killed, its links stay" : "is killed");
  end_life(node);
  if (silent) return;
  for (const NodeId& peer : network_.linked_with(node)) cut(node, peer, false);
}

void Simulator::stop(const NodeId& node) {
  if (!alive(node)) return;
  trace(node, "stops");
  for (auto& [number, request] : requests_)
    if (request.asker == node && !request.done()) {
      request.orphaned = true;
      request.ended_us = now_us_;
    }
  std::vector<CoreEffect> effects = nodes_.at(node).core->handle(StopNode{}, now_us_);
  for (CoreEffect& effect : effects)
    if (auto* message = std::get_if<SendMessage>(&effect))
      send(node, message->to, std::move(message->message));
  const uint64_t life = nodes_.at(node).life;
  at(now_us_ + 20'000, [this, node, life] {
    if (nodes_.at(node).life == life) kill(node, false);
  });
}

void Simulator::restart(const NodeId& node) {
  if (!nodes_.contains(node) || alive(node)) return;
  last_fault_us_ = now_us_;
  for (const NodeId& peer : network_.linked_with(node)) network_.cut_link(node, peer);
  start(node);
}

void Simulator::slow_down(const NodeId& node, double slowness) {
  trace(node, fmt::format("is {} times slower", slowness));
  nodes_.at(node).options.slowness = slowness;
}

bool Simulator::alive(const NodeId& node) const {
  const auto found = nodes_.find(node);
  return found != nodes_.end() && found->second.core != nullptr;
}

std::vector<NodeId> Simulator::nodes() const {
  std::vector<NodeId> ids;
  for (const auto& [id, node] : nodes_) ids.push_back(id);
  return ids;
}

// --- stages
// ---------------------------------------------------------------------------------------

void Simulator::device_changed(const NodeId& id) {
  const uint64_t life = nodes_.at(id).life;
  at(now_us_ + kMeasureUs, [this, id, life] {
    if (nodes_.at(id).life == life) give(id, DeviceChanged{device(nodes_.at(id))});
  });
}

void Simulator::load(const NodeId& id, const LoadShard& effect) {
  SimNode& node = nodes_.at(id);
  const PlacementId placement = effect.placement.id;
  SimStage& stage = node.stages[placement];
  stage.placement = effect.placement;
  stage.index = effect.stage_index;
  const int64_t took_us = node.options.load_us + random_.between(0, node.options.load_us);
  at(now_us_ + took_us, [this, id, placement, life = node.life] {
    SimNode& later = nodes_.at(id);
    const auto found = later.stages.find(placement);
    if (later.life != life || found == later.stages.end()) return;
    SimStage& loading = found->second;
    const auto fail = [&](Error error) {
      later.stages.erase(found);
      give(id, ShardLoadFailed{placement, std::move(error)});
    };
    if (later.options.lacks.contains(loading.placement.card.fingerprint))
      return fail(not_found("the model's files are not on this device"));
    const uint64_t bytes = shard_bytes(loading.placement, loading.index);
    if (later.used_bytes + bytes > later.options.memory_bytes)
      return fail(resource_exhausted("no memory left"));
    loading.bytes = bytes;
    later.used_bytes += bytes;
    FakeEngineOptions engine;
    engine.shard = loading.placement.stages[loading.index].shard;
    engine.vocab_size = loading.placement.card.vocab_size;
    engine.block_count = loading.placement.kv_capacity_tokens / engine.block_size;
    if (random_.chance(later.options.step_failure))
      engine.fail_step = static_cast<int>(random_.between(0, 30));
    loading.runner = make_stage_runner(loading.placement, loading.index, make_fake_engine(engine),
                                       {.max_batch_rows = 16, .max_sequences = 8, .max_queue = 64});
    device_changed(id);
    give(id, ShardLoaded{placement});
  });
}

void Simulator::unload(const NodeId& id, PlacementId placement) {
  SimNode& node = nodes_.at(id);
  const auto found = node.stages.find(placement);
  if (found == node.stages.end()) return;
  node.used_bytes -= found->second.bytes;
  node.stages.erase(found);
  device_changed(id);
}

void Simulator::step(const NodeId& id, PlacementId placement) {
  SimNode& node = nodes_.at(id);
  const auto found = node.stages.find(placement);
  if (found == node.stages.end() || !found->second.runner) return;
  SimStage& stage = found->second;
  if (stage.stepping || !stage.runner->has_work()) return;
  auto events = std::make_shared<std::vector<StageEvent>>(stage.runner->step());
  int64_t took_us = 20;
  for (const StageEvent& event : *events) {
    int rows = -1;
    if (const auto* forward = std::get_if<Forward>(&event)) rows = forward->batch.rows();
    if (std::holds_alternative<BatchResult>(event)) rows = 4;
    if (rows >= 0)
      took_us += static_cast<int64_t>(static_cast<double>(kBatchUs + rows * kRowUs) *
                                      node.options.slowness);
  }
  stage.stepping = true;
  at(now_us_ + took_us, [this, id, placement, life = node.life, events] {
    SimNode& later = nodes_.at(id);
    const auto again = later.stages.find(placement);
    if (later.life != life || again == later.stages.end()) return;
    again->second.stepping = false;
    for (StageEvent& event : *events) give(id, StageOutput{placement, std::move(event)});
    step(id, placement);
  });
}

std::vector<StageStats> Simulator::stage_stats(const NodeId& node) const {
  std::vector<StageStats> stats;
  for (const auto& [id, stage] : nodes_.at(node).stages)
    if (stage.runner) stats.push_back(stage.runner->stats());
  return stats;
}

// --- requests
// -------------------------------------------------------------------------------------

uint64_t Simulator::ask(const NodeId& asker, const ModelCard& card, std::vector<TokenId> prompt_ids,
                        const SamplingParams& sampling, std::vector<PlacedImage> images) {
  const uint64_t number = next_request_++;
  SimRequest& request = requests_[number];
  request.number = number;
  request.asker = asker;
  request.card = card;
  request.prompt_ids = prompt_ids;
  request.sampling = sampling;
  request.images = images;
  request.started_us = now_us_;
  trace(asker, fmt::format("asks r{}: {} ids, at most {} tokens", number, prompt_ids.size(),
                           sampling.max_tokens));
  give(asker, StartSession{number, card, std::move(prompt_ids), sampling, std::move(images)});
  return number;
}

void Simulator::cancel(uint64_t number) {
  SimRequest& request = requests_.at(number);
  if (request.done()) return;
  request.cancelled = true;
  request.ended_us = now_us_;
  give(request.asker, CancelSession{number});
}

bool Simulator::all_done() const {
  return std::all_of(requests_.begin(), requests_.end(),
                     [](const auto& entry) { return entry.second.done(); });
}

}  // namespace exo::sim
