#include "scenario.h"

#include <fmt/core.h>

#include <algorithm>

#include "checks.h"
#include "simulator.h"

namespace exo::sim {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr uint64_t kMegabyte = 1'000'000;
constexpr int64_t kSettleUs = 150 * kSecond;       // after the last fault, everything has ended
constexpr uint64_t kMaxMessagesPerSecond = 5'000;  // of the whole cluster

class Scenario {
 public:
  Scenario(uint64_t seed, bool verbose)
      : random_(seed * 0x9e3779b97f4a7c15ULL + 12345), simulator_(options(seed, verbose)) {}

  ScenarioResult run() {
    plan_models();
    plan_nodes();
    plan_requests();
    plan_faults();
    simulator_.run_until(15 * kSecond);
    simulator_.calm_network();
    const auto done = [&] { return simulator_.now_us() > 16 * kSecond && simulator_.all_done(); };
    simulator_.run_until(simulator_.last_fault_us() + kSettleUs, done);
    simulator_.run_until(simulator_.now_us() + 8 * kSecond);
    check_answers(simulator_, &result_.problems);
    check_failures();
    check_idle(simulator_, &result_.problems);
    unload();
    check_unloaded(simulator_, &result_.problems);
    if (simulator_.busiest_second() > kMaxMessagesPerSecond)
      result_.problems.push_back(
          fmt::format("{} messages in one second", simulator_.busiest_second()));
    result_.trace_hash = simulator_.trace_hash();
    summarise();
    return result_;
  }

 private:
  Simulator::Options options(uint64_t seed, bool verbose) {
    Simulator::Options options;
    options.seed = seed;
    options.verbose = verbose;
    options.network.latency_us = random_.between(50, random_.chance(0.2) ? 20'000 : 1'000);
    options.network.jitter_us = random_.between(0, options.network.latency_us);
    if (random_.chance(0.3)) {
      hostile_ = true;
      const int64_t worst = random_.chance(0.2) ? 120 : 30;  // per mille
      options.network.loss = static_cast<double>(random_.between(0, worst)) / 1000;
      options.network.repeat = static_cast<double>(random_.between(0, 30)) / 1000;
      options.network.reorder = static_cast<double>(random_.between(0, 50)) / 1000;
    }
    return options;
  }

  void plan_models() {
    const int count = random_.chance(0.25) ? 2 : 1;
    for (int i = 0; i < count; ++i)
      cards_.push_back(make_card(fmt::format("model{}", i), static_cast<int>(random_.between(3, 9)),
                                 static_cast<uint64_t>(random_.between(20, 150)) * kMegabyte));
  }

  void plan_nodes() {
    const int count = static_cast<int>(random_.between(1, random_.chance(0.15) ? 8 : 5));
    for (int i = 0; i < count; ++i) {
      SimNodeOptions options;
      options.memory_bytes = static_cast<uint64_t>(random_.between(300, 2000)) * kMegabyte;
      options.slowness = random_.chance(0.2) ? static_cast<double>(random_.between(2, 40)) : 1;
      options.load_us = random_.chance(0.1) ? 6 * kSecond : random_.between(5'000, 400'000);
      if (random_.chance(0.1)) options.lacks.insert(cards_[0].fingerprint);
      if (options.load_us < kSecond && random_.chance(0.1)) options.step_failure = 0.5;
      const std::string name(1, static_cast<char>('A' + i));
      nodes_.push_back(NodeId{name});
      const int64_t when_us = i == 0 || random_.chance(0.7) ? 0 : random_.between(0, 8 * kSecond);
      simulator_.at(when_us, [this, name, options] { simulator_.add_node(name, options); });
    }
  }

  const NodeId& any_node() {
    return nodes_[static_cast<size_t>(random_.between(0, static_cast<int64_t>(nodes_.size()) - 1))];
  }

  void plan_requests() {
    const int count = static_cast<int>(random_.between(1, 8));
    for (int i = 0; i < count; ++i) {
      const int64_t when_us = random_.between(kSecond / 2, 10 * kSecond);
      simulator_.at(when_us, [this] { ask(); });
    }
  }

  void ask() {
    const NodeId asker = any_node();
    std::vector<TokenId> prompt;
    const int length = static_cast<int>(random_.between(1, 60));
    const uint64_t topic = random_.next() % 3;  // prompts share beginnings
    for (int i = 0; i < length; ++i)
      prompt.push_back(static_cast<TokenId>((topic * 7 + static_cast<uint64_t>(i) * 3) % 64));
    SamplingParams sampling;
    sampling.max_tokens = static_cast<int>(random_.between(1, random_.chance(0.3) ? 150 : 40));
    sampling.temperature = random_.chance(0.5) ? 0 : 0.9;
    sampling.seed = random_.next();
    if (random_.chance(0.3)) sampling.repetition_penalty = 1.3;
    if (random_.chance(0.3)) sampling.stop_ids = {static_cast<TokenId>(random_.between(0, 63))};
    const ModelCard& card = cards_[random_.next() % cards_.size()];
    std::vector<PlacedImage> images;
    if (random_.chance(0.3)) {  // at the same place, but not the same picture
      const int position = std::min(length, 10);
      prompt.insert(prompt.begin() + position, kImageTokens, kImageToken);
      images.push_back({make_picture(random_.next() % 2), position, kImageTokens});
    }
    const bool cancels = random_.chance(0.15);
    const int64_t cancel_after_us = random_.between(1'000, 2 * kSecond);
    if (!simulator_.alive(asker)) return;
    const uint64_t request =
        simulator_.ask(asker, card, std::move(prompt), sampling, std::move(images));
    if (cancels)
      simulator_.at(simulator_.now_us() + cancel_after_us,
                    [this, request] { simulator_.cancel(request); });
  }

  void plan_faults() {
    const int count = static_cast<int>(random_.between(0, random_.chance(0.2) ? 10 : 4));
    for (int i = 0; i < count; ++i) {
      const int64_t when_us = random_.between(kSecond, 11 * kSecond);
      switch (random_.between(0, 5)) {
        case 0:
        case 1:
          plan_death(when_us);
          break;
        case 2:
        case 3:
          plan_partition(when_us);
          break;
        case 4:
          plan_slowness(when_us);
          break;
        default:
          plan_blink(when_us);
          break;
      }
    }
  }

  void plan_death(int64_t when_us) {
    const NodeId node = any_node();
    const int64_t way = random_.between(0, 2);
    simulator_.at(when_us, [this, node, way] {
      if (way == 0)
        simulator_.stop(node);
      else
        simulator_.kill(node, way == 1);
    });
    if (!random_.chance(0.5)) return;
    simulator_.at(when_us + random_.between(kSecond / 10, 8 * kSecond),
                  [this, node] { simulator_.restart(node); });
  }

  // One pair, or one node from all others.
  void plan_partition(int64_t when_us) {
    const NodeId a = any_node(), b = any_node();
    const bool alone = random_.chance(0.5), silent = random_.chance(0.5);
    const int64_t heals_us = when_us + random_.between(kSecond / 5, 9 * kSecond);
    for (const NodeId& other : nodes_) {
      if (other == a || (!alone && other != b)) continue;
      simulator_.at(when_us, [this, a, other, silent] { simulator_.block(a, other, silent); });
      simulator_.at(heals_us, [this, a, other] { simulator_.unblock(a, other); });
    }
  }

  void plan_slowness(int64_t when_us) {
    const NodeId node = any_node();
    const double slowness = static_cast<double>(random_.between(20, 400));
    simulator_.at(when_us, [this, node, slowness] {
      if (simulator_.alive(node)) simulator_.slow_down(node, slowness);
    });
    simulator_.at(when_us + 4 * kSecond, [this, node] {
      if (simulator_.alive(node)) simulator_.slow_down(node, 1);
    });
  }

  // A link breaks and is back at once: only what was on its way is lost.
  void plan_blink(int64_t when_us) {
    const NodeId a = any_node(), b = any_node();
    if (a == b) return;
    simulator_.at(when_us, [this, a, b] { simulator_.block(a, b, false); });
    simulator_.at(when_us + random_.between(1'000, 500'000),
                  [this, a, b] { simulator_.unblock(a, b); });
  }

  void unload() {
    for (const NodeId& node : simulator_.nodes())
      for (const ModelCard& card : cards_) simulator_.command(node, UnloadModel{card.id});
    simulator_.run_until(simulator_.now_us() + 20 * kSecond);
  }

  // A request may fail only when the model fitted nowhere, or in the turmoil of a recent fault.
  void check_failures() {
    for (const auto& [number, request] : simulator_.requests()) {
      if (!request.failed) continue;
      const bool turmoil = hostile_ || request.ended_us < simulator_.last_fault_us() + 12 * kSecond;
      if (cards_.size() > 1 || turmoil) continue;
      if (fit_exists(simulator_, request.asker, request.card))
        result_.problems.push_back(fmt::format("request {} failed though the model fits: {}",
                                               number, request.error.message));
    }
  }

  void summarise() {
    for (const auto& [number, request] : simulator_.requests()) {
      result_.finished += request.finish != FinishReason::none;
      result_.failed += request.failed;
      result_.cancelled += request.cancelled;
      result_.orphaned += request.orphaned;
      if (request.failed)
        result_.summary += fmt::format(" [r{} failed: {}]", number, request.error.message);
    }
    result_.summary = fmt::format(
        "{} nodes, {} answered, {} failed, {} cancelled, {} lost their asker, {} messages "
        "({} in the busiest second), hash {:016x}{}",
        nodes_.size(), result_.finished, result_.failed, result_.cancelled, result_.orphaned,
        simulator_.messages(), simulator_.busiest_second(), result_.trace_hash, result_.summary);
  }

  Random random_;
  bool hostile_ = false;
  Simulator simulator_;
  std::vector<ModelCard> cards_;
  std::vector<NodeId> nodes_;
  ScenarioResult result_;
};

}  // namespace

ModelCard make_card(const std::string& name, int layers, uint64_t layer_bytes) {
  ModelCard card;
  card.id = name;
  card.fingerprint = name + "-fingerprint";
  card.family = "fake";
  card.weight_dtype = "f32";
  card.layer_count = layers;
  card.hidden_size = 8;
  card.vocab_size = 64;
  card.context_length = 256;
  card.parameter_count = 1;
  card.layer_bytes.assign(static_cast<size_t>(layers), layer_bytes);
  card.embedding_bytes = layer_bytes / 10;
  card.head_bytes = layer_bytes / 10;
  card.kv_bytes_per_token_per_layer = 100;
  card.vision = true;
  card.image_size = 1;
  card.image_tokens = kImageTokens;
  card.image_token = kImageToken;
  return card;
}

std::shared_ptr<const Image> make_picture(uint64_t color) {
  return std::make_shared<Image>(Image{1, 1, {static_cast<uint8_t>(color), 2, 3}});
}

ScenarioResult run_scenario(uint64_t seed, bool verbose) { return Scenario(seed, verbose).run(); }

}  // namespace exo::sim
