// Where layers go when nodes have some of them on their disks already.
#include <gtest/gtest.h>

#include "scenario.h"
#include "simulator.h"

namespace exo::sim {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr uint64_t kMegabyte = 1'000'000;
constexpr const char* kSource = "hf.co/org/model@c0ffee";

// Three nodes of about one size: which of them is the largest changes with their free memory.
class Holders : public testing::Test {
 protected:
  Holders() : simulator_({.seed = 5}), card_(make_card("model", 12, 40 * kMegabyte)) {
    card_.source = kSource;
    const char* const names[] = {"A", "B", "C"};
    for (size_t i = 0; i < 3; ++i)
      simulator_.add_node(names[i], {.memory_bytes = (1000 - i) * kMegabyte});
    settle();
  }
  void settle() { simulator_.run_until(simulator_.now_us() + 3 * kSecond); }

  Placement place() {
    SamplingParams sampling;
    sampling.max_tokens = 1;
    simulator_.ask(NodeId{"A"}, card_, {5, 9, 1}, sampling);
    EXPECT_TRUE(simulator_.run_until(simulator_.now_us() + 20 * kSecond,
                                     [&] { return simulator_.all_done(); }));
    settle();
    return placement();
  }
  Placement placement() {
    const CoreView view = simulator_.view(NodeId{"A"});
    EXPECT_EQ(view.placements.size(), 1u);
    return view.placements.empty() ? Placement{} : view.placements.front().placement;
  }
  void unload() {
    simulator_.command(NodeId{"A"}, UnloadModel{card_.id});
    EXPECT_TRUE(simulator_.run_until(simulator_.now_us() + 10 * kSecond, [&] {
      return simulator_.view(NodeId{"A"}).placements.empty();
    }));
    settle();
  }
  void hold(const NodeId& node, std::vector<LayerSpan> spans) {
    const HeldModel held{kSource, "model", 12, {std::move(spans), true, true}, 1, 1, false};
    simulator_.command(node, HeldChanged{{held}});
  }
  void hold_own(const Placement& placement) {
    for (const Stage& stage : placement.stages)
      hold(stage.node, {{stage.shard.layer_begin, stage.shard.layer_end}});
  }
  // Now C is the largest and A the smallest, by as little.
  void turn_memory_round() {
    const char* const names[] = {"C", "B", "A"};
    for (size_t i = 0; i < 3; ++i) {
      DeviceCapabilities device = simulator_.view(NodeId{names[i]}).self.device;
      device.memory_free_bytes = device.memory_total_bytes = (1000 - i) * kMegabyte;
      simulator_.command(NodeId{names[i]}, DeviceChanged{device});
    }
    settle();
  }

  Simulator simulator_;
  ModelCard card_;
};

TEST_F(Holders, WithoutFilesTheMemoryOfTheDayDecides) {
  const Placement first = place();
  unload();
  turn_memory_round();
  EXPECT_NE(place().stages, first.stages);
}

TEST_F(Holders, AReloadAfterMemoryMovedKeepsTheLayersWhereTheyLie) {
  const Placement first = place();
  ASSERT_EQ(first.stages.size(), 3u);
  hold_own(first);
  unload();
  turn_memory_round();
  EXPECT_EQ(place().stages, first.stages);
}

TEST_F(Holders, WhoHoldsWhatIsGossipedToNodesWithoutALink) {
  simulator_.block(NodeId{"A"}, NodeId{"C"}, false);
  hold(NodeId{"C"}, {{0, 3}, {5, 12}});
  settle();
  for (const PeerView& peer : simulator_.view(NodeId{"A"}).peers)
    if (peer.info.id.value == "C") {
      ASSERT_EQ(peer.info.held.size(), 1u);
      EXPECT_EQ(peer.info.held[0].layers.spans, (std::vector<LayerSpan>{{0, 3}, {5, 12}}));
    }
}

TEST_F(Holders, APlacementStaysWhenOnlyTheDisksChanged) {
  const Placement first = place();
  for (const Stage& stage : first.stages) hold(stage.node, {{0, 12}});
  turn_memory_round();
  // Somebody comes who is of no use, so that the head plans anew.
  simulator_.add_node("D", {.memory_bytes = 1});
  simulator_.run_until(simulator_.now_us() + 10 * kSecond);
  EXPECT_EQ(placement().id, first.id);
}

}  // namespace
}  // namespace exo::sim
