// Simulator: a cluster in one thread. Each node is the real NodeCore with real StageRunners on fake
// engines; time, network and failures are virtual and follow from the seed, so that a run can be
// repeated exactly. Scenarios (scenario.h) say what happens; checks.h says what must hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "inference/stage_runner.h"
#include "orchestration/core.h"
#include "random.h"
#include "sim_network.h"

namespace exo::sim {

struct SimNodeOptions {
  uint64_t memory_bytes = 1'000'000'000;
  double slowness = 1;          // of computing
  int64_t load_us = 50'000;     // to load a shard
  std::set<std::string> lacks;  // fingerprints of models it has no files of
  double step_failure = 0;      // chance that loading gives an engine that fails once
};

struct SimRequest {
  uint64_t number = 0;
  NodeId asker;
  ModelCard card;
  std::vector<TokenId> prompt_ids;
  SamplingParams sampling;
  std::vector<PlacedImage> images;
  int64_t started_us = 0, ended_us = 0;
  std::vector<TokenId> tokens;
  std::vector<int64_t> token_times_us;
  FinishReason finish = FinishReason::none;
  bool failed = false, cancelled = false, orphaned = false;  // orphaned: the asker went
  Error error;
  std::vector<std::string> notices;
  bool done() const { return failed || cancelled || orphaned || finish != FinishReason::none; }
};

class Simulator {
 public:
  struct Options {
    uint64_t seed = 1;
    bool verbose = false;
    NetworkOptions network;
    std::string partitioning = "ring-memory-weighted";
  };
  explicit Simulator(const Options& options);

  int64_t now_us() const { return now_us_; }
  void at(int64_t when_us, std::function<void()> action);
  void run_until(int64_t when_us);
  // Runs until the condition holds or the time has passed; whether it holds.
  bool run_until(int64_t deadline_us, const std::function<bool()>& condition);

  NodeId add_node(const std::string& name, const SimNodeOptions& options);
  void kill(const NodeId& node, bool silent);  // silent: its peers see no broken connection
  void stop(const NodeId& node);               // says goodbye
  void restart(const NodeId& node);
  void block(const NodeId& a, const NodeId& b, bool silent);
  void unblock(const NodeId& a, const NodeId& b);
  void slow_down(const NodeId& node, double slowness);
  void calm_network() { network_.calm(); }

  uint64_t ask(const NodeId& asker, const ModelCard& card, std::vector<TokenId> prompt_ids,
               const SamplingParams& sampling, std::vector<PlacedImage> images = {});
  void cancel(uint64_t request);
  void command(const NodeId& node, CoreEvent event);

  bool alive(const NodeId& node) const;
  bool connected(const NodeId& a, const NodeId& b) const { return !network_.blocked(a, b); }
  std::vector<NodeId> nodes() const;
  const SimNodeOptions& node_options(const NodeId& node) const { return nodes_.at(node).options; }
  CoreView view(const NodeId& node) const { return nodes_.at(node).core->view(); }
  int64_t next_deadline_us(const NodeId& node) const {
    return nodes_.at(node).core->next_deadline_us();
  }
  std::vector<StageStats> stage_stats(const NodeId& node) const;
  const std::map<uint64_t, SimRequest>& requests() const { return requests_; }
  bool all_done() const;
  uint64_t trace_hash() const { return trace_hash_; }
  uint64_t messages() const { return messages_; }
  uint64_t busiest_second() const { return busiest_second_; }
  int64_t last_fault_us() const { return last_fault_us_; }

 private:
  struct SimStage {
    std::unique_ptr<StageRunner> runner;
    Placement placement;
    size_t index = 0;
    uint64_t bytes = 0;
    bool stepping = false;
  };
  struct SimNode {
    std::string name;
    SimNodeOptions options;
    std::unique_ptr<NodeCore> core;  // null: dead
    uint64_t life = 0;               // rises with each start
    std::map<PlacementId, SimStage> stages;
    uint64_t used_bytes = 0;
    int64_t tick_at_us = 0;
  };
  struct Event {
    int64_t at_us;
    uint64_t order;
    std::function<void()> action;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.at_us != b.at_us ? a.at_us > b.at_us : a.order > b.order;
    }
  };

  void start(const NodeId& id);
  void give(const NodeId& id, CoreEvent event);
  void schedule_tick(const NodeId& id);
  void perform(const NodeId& id, CoreEffect& effect);
  void send(const NodeId& from, const NodeId& to, Message message);
  void load(const NodeId& id, const LoadShard& effect);
  void unload(const NodeId& id, PlacementId placement);
  void device_changed(const NodeId& id);
  void step(const NodeId& id, PlacementId placement);
  void link(const NodeId& a, const NodeId& b);
  void cut(const NodeId& a, const NodeId& b, bool tell_both);
  void discover();
  void trace(const NodeId& node, const std::string& text);
  void end_life(const NodeId& node);
  DeviceCapabilities device(const SimNode& node) const;

  Options options_;
  Random random_;
  SimNetwork network_;
  int64_t now_us_ = 0;
  uint64_t next_order_ = 0;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::map<NodeId, SimNode> nodes_;
  std::map<uint64_t, SimRequest> requests_;
  uint64_t next_request_ = 1;
  uint64_t trace_hash_ = 1469598103934665603ULL;
  uint64_t messages_ = 0, this_second_ = 0, busiest_second_ = 0;
  int64_t second_ = 0;
  int64_t last_fault_us_ = 0;
};

}  // namespace exo::sim
