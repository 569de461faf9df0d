#include "checks.h"

#include <fmt/core.h>

#include <algorithm>

#include "inference/fake_engine.h"
#include "topology/partitioning_strategy.h"

namespace exo::sim {

Answer undisturbed_answer(const ModelCard& card, const std::vector<TokenId>& prompt_ids,
                          const SamplingParams& sampling, const std::vector<PlacedImage>& images) {
  Placement placement;
  placement.id.value = 1;
  placement.epoch = 1;
  placement.card = card;
  placement.stages = {{NodeId{"alone"}, {card.id, 0, card.layer_count, card.layer_count}}};
  placement.context_length = card.context_length;
  placement.kv_capacity_tokens = card.context_length;
  FakeEngineOptions engine;
  engine.shard = placement.stages[0].shard;
  engine.vocab_size = card.vocab_size;
  engine.block_count = placement.kv_capacity_tokens / engine.block_size;
  const auto runner = make_stage_runner(placement, 0, make_fake_engine(engine), {});
  SessionOpen open{placement.id, 1, SessionId{1}, NodeId{"alone"}, true, sampling, prompt_ids, {}};
  runner->submit(open);
  open.for_tail = false;
  open.images = images;
  runner->submit(open);
  Answer answer;
  while (runner->has_work())
    for (const StageEvent& event : runner->step())
      if (const auto* result = std::get_if<BatchResult>(&event))
        for (const TokenEvent& tokens : result->tokens) {
          answer.tokens.insert(answer.tokens.end(), tokens.ids.begin(), tokens.ids.end());
          answer.finish = tokens.finish;
        }
  return answer;
}

bool fit_exists(const Simulator& simulator, const NodeId& asker, const ModelCard& card) {
  std::vector<NodeId> chosen;
  std::vector<NodeInfo> infos;
  std::vector<NodeId> order = simulator.nodes();
  std::stable_partition(order.begin(), order.end(), [&](const NodeId& n) { return n == asker; });
  for (const NodeId& node : order) {
    if (!simulator.alive(node)) continue;
    const SimNodeOptions& options = simulator.node_options(node);
    const bool meshed = std::all_of(chosen.begin(), chosen.end(), [&](const NodeId& other) {
      return simulator.connected(node, other);
    });
    if (!meshed) continue;
    chosen.push_back(node);
    if (options.lacks.contains(card.fingerprint)) continue;
    NodeInfo info;
    info.id = node;
    info.device.host_name = node.value;
    info.device.memory_total_bytes = info.device.memory_free_bytes = options.memory_bytes;
    infos.push_back(info);
  }
  if (infos.empty()) return false;
  const auto strategy = make_partitioning_strategy("ring-memory-weighted", asker);
  return (*strategy)->partition(make_topology(infos), card, {}).ok();
}

void check_answers(const Simulator& simulator, std::vector<std::string>* problems) {
  for (const auto& [number, request] : simulator.requests()) {
    if (!request.done()) {
      problems->push_back(fmt::format("request {} never ended", number));
      continue;
    }
    const Answer expected =
        undisturbed_answer(request.card, request.prompt_ids, request.sampling, request.images);
    const bool prefix =
        request.tokens.size() <= expected.tokens.size() &&
        std::equal(request.tokens.begin(), request.tokens.end(), expected.tokens.begin());
    if (!prefix) problems->push_back(fmt::format("request {} got wrong tokens", number));
    if (request.finish == FinishReason::none) continue;
    if (request.finish != expected.finish || request.tokens.size() != expected.tokens.size())
      problems->push_back(fmt::format("request {} ended after {} of {} tokens", number,
                                      request.tokens.size(), expected.tokens.size()));
  }
}

void check_idle(const Simulator& simulator, std::vector<std::string>* problems) {
  for (const NodeId& node : simulator.nodes()) {
    if (!simulator.alive(node)) continue;
    if (simulator.view(node).running_sessions != 0)
      problems->push_back(fmt::format("{} still has requests", node.value));
    if (simulator.next_deadline_us(node) - simulator.now_us() > 300'000)
      problems->push_back(fmt::format("{} sleeps too long", node.value));
    for (const StageStats& stats : simulator.stage_stats(node))
      if (stats.running != 0 || stats.waiting != 0 || stats.tail_sessions != 0 ||
          stats.batches_in_flight != 0)
        problems->push_back(fmt::format(
            "{} leaks: {} running, {} waiting, {} at the tail, {} batches in flight", node.value,
            stats.running, stats.waiting, stats.tail_sessions, stats.batches_in_flight));
  }
}

void check_unloaded(const Simulator& simulator, std::vector<std::string>* problems) {
  for (const NodeId& node : simulator.nodes()) {
    if (!simulator.alive(node)) continue;
    const CoreView view = simulator.view(node);
    if (!simulator.stage_stats(node).empty() || !view.self.placements.empty())
      problems->push_back(fmt::format("{} still holds a stage after unloading", node.value));
    if (!view.placements.empty())
      problems->push_back(fmt::format("{} still knows of a placement", node.value));
    if (view.self.device.memory_free_bytes != simulator.node_options(node).memory_bytes)
      problems->push_back(fmt::format("{} has {} of {} bytes free after unloading", node.value,
                                      view.self.device.memory_free_bytes,
                                      simulator.node_options(node).memory_bytes));
  }
}

}  // namespace exo::sim
