#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "topology/layer_ranges.h"
#include "topology/memory_need.h"
#include "topology/partitioning_strategy.h"

namespace exo {
namespace {

constexpr uint64_t kGb = 1'000'000'000;

ModelCard card_of(int layers, uint64_t layer_bytes, uint64_t end_bytes = 0) {
  ModelCard card;
  card.id = "m";
  card.weight_dtype = "bf16";
  card.layer_count = layers;
  card.context_length = 4096;
  card.layer_bytes.assign(static_cast<size_t>(layers), layer_bytes);
  card.embedding_bytes = end_bytes;
  card.head_bytes = end_bytes;
  card.tied_embedding = true;
  return card;
}

Topology topology_of(const std::vector<uint64_t>& usable) {
  Topology topology;
  for (size_t i = 0; i < usable.size(); ++i) {
    TopologyNode node;
    node.id = {std::string(1, static_cast<char>('a' + i))};
    node.name = "node-" + node.id.value;
    node.usable_bytes = usable[i];
    topology.nodes.push_back(node);
  }
  return topology;
}

Result<Partition> plan(std::string_view spec, const Topology& topology, const ModelCard& card,
                       const PartitionRequest& request = {}) {
  auto strategy = make_partitioning_strategy(spec, NodeId{"a"});
  if (!strategy.ok()) return strategy.error();
  return (*strategy)->partition(topology, card, request);
}

std::string shape(const Result<Partition>& partition) {
  if (!partition.ok()) return "error: " + partition.error().message;
  std::string text;
  for (const Stage& stage : partition->stages)
    text += stage.node.value + ":" + std::to_string(stage.shard.layer_begin) + "-" +
            std::to_string(stage.shard.layer_end) + " ";
  return text;
}

TEST(RingMemoryWeighted, ProportionalInRingOrder) {
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology_of({8 * kGb, 24 * kGb}), card_of(12, 1))),
            "b:0-9 a:9-12 ");
  // The second largest closes the ring.
  EXPECT_EQ(
      shape(plan("ring-memory-weighted", topology_of({kGb, 2 * kGb, 3 * kGb}), card_of(12, 1))),
      "c:0-6 a:6-8 b:8-12 ");
}

TEST(RingMemoryWeighted, TheClusterThatBrokeRounding) {
  // 512/24/8 GB and 16 layers once gave a node no shard at all, and it ran another's.
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology_of({512 * kGb, 24 * kGb, 8 * kGb}),
                       card_of(16, 1))),
            "a:0-14 c:14-15 b:15-16 ");
}

TEST(RingMemoryWeighted, MoreNodesThanLayersLeavesTheSmallestOut) {
  const auto partition =
      plan("ring-memory-weighted", topology_of({kGb, 4 * kGb, 2 * kGb, 3 * kGb}), card_of(2, 1));
  EXPECT_EQ(shape(partition), "b:0-1 d:1-2 ");
  EXPECT_EQ(partition->warnings.size(), 2u);
}

TEST(RingMemoryWeighted, BoundariesMoveUntilTheEndsFit) {
  // In proportion it would be 4 and 4; the embedding leaves room for two layers on the first.
  ModelCard card = card_of(8, kGb);
  card.embedding_bytes = 4 * kGb;
  card.head_bytes = 1;
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology_of({6 * kGb, 7 * kGb}), card)),
            "b:0-3 a:3-8 ");
}

TEST(RingMemoryWeighted, NoFitNamesWhatIsMissing) {
  const auto partition =
      plan("ring-memory-weighted", topology_of({2 * kGb, 3 * kGb}), card_of(8, kGb));
  ASSERT_FALSE(partition.ok());
  EXPECT_EQ(partition.error().code, ErrorCode::resource_exhausted);
  EXPECT_NE(partition.error().message.find("3.0 GB missing"), std::string::npos)
      << partition.error().message;

  PartitionRequest disk;
  disk.allow_disk = true;
  const auto placed =
      plan("ring-memory-weighted", topology_of({2 * kGb, 3 * kGb}), card_of(8, kGb), disk);
  EXPECT_EQ(shape(placed), "b:0-5 a:5-8 ");
  EXPECT_EQ(placed->warnings.size(), 1u);
}

TEST(RingMemoryWeighted, UselessInputsGiveClearErrors) {
  const auto code = [](const Result<Partition>& partition) {
    EXPECT_FALSE(partition.ok());
    return partition.ok() ? ErrorCode::internal : partition.error().code;
  };
  EXPECT_EQ(code(plan("ring-memory-weighted", {}, card_of(4, 1))), ErrorCode::unavailable);
  EXPECT_EQ(code(plan("ring-memory-weighted", topology_of({0, 0}), card_of(4, 1))),
            ErrorCode::resource_exhausted);
  EXPECT_EQ(code(plan("ring-memory-weighted", topology_of({1}), card_of(0, 1))),
            ErrorCode::invalid_argument);
  ModelCard lying = card_of(4, 1);
  lying.layer_bytes.pop_back();
  EXPECT_EQ(code(plan("ring-memory-weighted", topology_of({1}), lying)),
            ErrorCode::invalid_argument);
  ModelCard absurd = card_of(4, ~uint64_t{0});
  EXPECT_EQ(code(plan("ring-memory-weighted", topology_of({1}), absurd)),
            ErrorCode::invalid_argument);
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology_of({0, kGb}), card_of(1, 1))), "b:0-1 ");
}

TEST(RingMemoryWeighted, TiedEmbeddingCountsOnceOnOneNode) {
  const ModelCard card = card_of(2, kGb, 4 * kGb);
  EXPECT_EQ(shape(plan("single", topology_of({6 * kGb}), card)), "a:0-2 ");
  EXPECT_FALSE(plan("ring-memory-weighted", topology_of({4 * kGb, 4 * kGb}), card).ok());
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology_of({5 * kGb, 5 * kGb}), card)),
            "a:0-1 b:1-2 ");
}

TEST(KvRoom, ChosenFromWhatIsFree) {
  ModelCard card = card_of(2, kGb);
  card.kv_bytes_per_token_per_layer = 1000;
  card.context_length = 131072;
  const auto chosen = [&](uint64_t usable, PartitionRequest request = {}) {
    const auto partition = plan("single", topology_of({usable}), card, request);
    if (!partition.ok()) return std::pair(-1, -1);
    return std::pair(partition->context_length, partition->kv_capacity_tokens);
  };
  EXPECT_EQ(chosen(100 * kGb), std::pair(131072, 131072 * 16));
  EXPECT_EQ(chosen(3 * kGb), std::pair(131072 / 2 / 2 * 2, 65536 * 1));
  EXPECT_EQ(chosen(2 * kGb + 20'000'000), std::pair(8192, 8192));
  EXPECT_EQ(chosen(2 * kGb + 3'000'000), std::pair(1024, 1024));
  EXPECT_EQ(chosen(2 * kGb), std::pair(-1, -1));
  PartitionRequest asked;
  asked.context_length = 20000;
  EXPECT_EQ(chosen(2 * kGb + 20'000'000, asked), std::pair(-1, -1));
  EXPECT_EQ(chosen(2 * kGb + 40'000'000, asked), std::pair(20000, 20000));
  asked.kv_capacity_tokens = 5000;
  EXPECT_EQ(chosen(2 * kGb + 40'000'000, asked), std::pair(5000, 5000));
}

TEST(KvRoom, QuantisedWeightsLeaveMore) {
  const ModelCard card = card_of(4, kGb);
  PartitionRequest request;
  EXPECT_FALSE(plan("single", topology_of({2 * kGb}), card, request).ok());
  request.weight_format = WeightFormat::q4_0;
  EXPECT_TRUE(plan("single", topology_of({2 * kGb}), card, request).ok());
}

TEST(Single, PrefersTheAskingNode) {
  EXPECT_EQ(shape(plan("single", topology_of({kGb, 2 * kGb, 2 * kGb}), card_of(4, 1))), "a:0-4 ");
  EXPECT_EQ(shape(plan("single", topology_of({kGb, 2 * kGb, 2 * kGb}), card_of(4, kGb / 3))),
            "b:0-4 ");
  EXPECT_FALSE(plan("single", topology_of({kGb, kGb}), card_of(4, kGb)).ok());
}

TEST(Manual, ObeysAndChecks) {
  const Topology topology = topology_of({2 * kGb, 8 * kGb});
  EXPECT_EQ(shape(plan("manual:0-1,2-7", topology, card_of(8, kGb))), "a:0-2 b:2-8 ");
  EXPECT_EQ(shape(plan("manual:node-b@0-5,a@6-7", topology, card_of(8, kGb))), "b:0-6 a:6-8 ");
  EXPECT_EQ(shape(plan("manual:0-7", topology, card_of(8, 1))), "a:0-8 ");
  for (const char* wrong : {"manual:", "manual:1-7", "manual:0-3,5-7", "manual:0-4,4-7",
                            "manual:3-0", "manual:0-3,b@4-7", "manual:x-7", "manual:0-3,", "ring"})
    EXPECT_FALSE(make_partitioning_strategy(wrong, NodeId{"a"}).ok()) << wrong;
  for (const char* unfit : {"manual:0-6", "manual:0-8", "manual:0-1,2-3,4-7", "manual:c@0-3,a@4-7",
                            "manual:0-3,4-7", "manual:a@0-1,a@2-7"})
    EXPECT_FALSE(plan(unfit, topology, card_of(8, kGb)).ok()) << unfit;
}

// --- thousands of random clusters ---------------------------------------------------------------

struct Case {
  Topology topology;
  ModelCard card;
  PartitionRequest request;
};

Case random_case(uint64_t seed, bool small) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) { return random() % n; };
  const size_t nodes = 1 + below(small ? 4 : 12);
  const int layers = 1 + static_cast<int>(below(small ? 7 : 90));
  Case made;
  made.card = card_of(layers, 1 + below(kGb));
  if (below(2) == 0)
    for (uint64_t& bytes : made.card.layer_bytes) bytes = 1 + below(kGb);
  made.card.embedding_bytes = below(kGb);
  made.card.tied_embedding = below(2) == 0;
  made.card.head_bytes = made.card.tied_embedding ? made.card.embedding_bytes : below(kGb);
  made.card.kv_bytes_per_token_per_layer = below(100'000);
  made.card.context_length = 1 << below(18);
  made.request.context_length = below(2) == 0 ? 0 : static_cast<int>(below(10'000));
  made.request.kv_capacity_tokens = below(4) == 0 ? static_cast<int>(below(30'000)) : 0;
  // Around what is needed, so that fits, near misses and misses all occur.
  const double room = static_cast<double>(made.card.total_bytes()) / static_cast<double>(nodes);
  std::vector<uint64_t> usable;
  for (size_t i = 0; i < nodes; ++i) {
    const double share = static_cast<double>(below(1000)) / 250.0;  // 0 .. 4 times a fair share
    usable.push_back(below(12) == 0 ? 0 : static_cast<uint64_t>(room * share));
  }
  made.topology = topology_of(usable);
  return made;
}

uint64_t usable_of(const Topology& topology, const NodeId& id) {
  for (const TopologyNode& node : topology.nodes)
    if (node.id == id) return node.usable_bytes;
  return 0;
}

void expect_valid(const Case& made, const Partition& partition, bool within_memory) {
  const MemoryNeed need = *MemoryNeed::make(made.card, made.request.weight_format);
  int next = 0;
  std::vector<NodeId> seen;
  for (const Stage& stage : partition.stages) {
    EXPECT_EQ(stage.shard.layer_begin, next);
    EXPECT_GT(stage.shard.layer_end, stage.shard.layer_begin);
    EXPECT_EQ(stage.shard.layer_count, made.card.layer_count);
    EXPECT_EQ(std::count(seen.begin(), seen.end(), stage.node), 0);
    seen.push_back(stage.node);
    next = stage.shard.layer_end;
    if (!within_memory) continue;
    EXPECT_LE(need.shard_bytes(stage.shard.layer_begin, next, partition.kv_capacity_tokens),
              usable_of(made.topology, stage.node));
  }
  EXPECT_EQ(next, made.card.layer_count);
  EXPECT_GE(partition.context_length, 1);
  EXPECT_GE(partition.kv_capacity_tokens, partition.context_length);
}

TEST(RingMemoryWeighted, RandomClustersAreCoveredExactlyOnceWithinMemory) {
  int fits = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Case made = random_case(seed, false);
    const auto partition = plan("ring-memory-weighted", made.topology, made.card, made.request);
    if (partition.ok()) {
      ++fits;
      expect_valid(made, *partition, true);
      std::shuffle(made.topology.nodes.begin(), made.topology.nodes.end(), std::mt19937_64(seed));
      EXPECT_EQ(shape(plan("ring-memory-weighted", made.topology, made.card, made.request)),
                shape(partition));
      continue;
    }
    EXPECT_EQ(partition.error().code, ErrorCode::resource_exhausted);
    made.request.allow_disk = true;
    const auto disk = plan("ring-memory-weighted", made.topology, made.card, made.request);
    ASSERT_TRUE(disk.ok());
    expect_valid(made, *disk, false);
    EXPECT_FALSE(disk->warnings.empty());
  }
  EXPECT_GT(fits, 300);
  EXPECT_LT(fits, 2700);
}

// Every cut of `layers` over these nodes in this order, nobody left out.
bool some_cut_fits(const std::vector<uint64_t>& usable, size_t node, int begin,
                   const MemoryNeed& need, int kv_tokens) {
  const int layers = need.layer_count();
  if (node == usable.size()) return begin == layers;
  for (int end = begin + 1; end <= layers; ++end)
    if (need.shard_bytes(begin, end, kv_tokens) <= usable[node] &&
        some_cut_fits(usable, node + 1, end, need, kv_tokens))
      return true;
  return false;
}

bool some_order_fits(std::vector<uint64_t> usable, const MemoryNeed& need, int kv_tokens) {
  std::sort(usable.begin(), usable.end());
  do {
    for (size_t count = 1; count <= usable.size(); ++count)
      if (some_cut_fits({usable.begin(), usable.begin() + static_cast<long>(count)}, 0, 0, need,
                        kv_tokens))
        return true;
  } while (std::next_permutation(usable.begin(), usable.end()));
  return false;
}

TEST(RingMemoryWeighted, AgreesWithBruteForceWhetherAFitExists) {
  int refused = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Case made = random_case(seed + 1'000'000, true);
    made.request.kv_capacity_tokens = 1000;
    if (plan("ring-memory-weighted", made.topology, made.card, made.request).ok()) continue;
    ++refused;
    std::vector<uint64_t> usable;
    for (const TopologyNode& node : made.topology.nodes) usable.push_back(node.usable_bytes);
    const MemoryNeed need = *MemoryNeed::make(made.card, made.request.weight_format);
    EXPECT_FALSE(some_order_fits(usable, need, 1000)) << "seed " << seed;
  }
  EXPECT_GT(refused, 500);
}

TEST(RingMemoryWeighted, SharesAreWithinOneLayerOfProportionWhereMemoryIsPlenty) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<uint64_t> usable(1 + random() % 8);
    for (uint64_t& bytes : usable) bytes = (64 + random() % 64) << 30;
    const int layers = 32;
    const auto partition = plan("ring-memory-weighted", topology_of(usable), card_of(layers, 1000));
    ASSERT_EQ(partition->stages.size(), usable.size());
    const double sum = std::accumulate(usable.begin(), usable.end(), 0.0);
    for (const Stage& stage : partition->stages) {
      const double bytes =
          static_cast<double>(usable[static_cast<size_t>(stage.node.value[0] - 'a')]);
      EXPECT_NEAR(stage.shard.layers(), bytes / sum * layers, 1.0) << "seed " << seed;
    }
  }
}

// --- who holds what already
// -----------------------------------------------------------------------

void hold(Topology& topology, const std::vector<Stage>& stages) {
  for (TopologyNode& node : topology.nodes) {
    node.held = {};
    for (const Stage& stage : stages)
      if (stage.node == node.id)
        node.held = {{{stage.shard.layer_begin, stage.shard.layer_end}},
                     stage.shard.first(),
                     stage.shard.last()};
  }
}

int layers_kept(const Topology& topology, const Partition& partition) {
  int kept = 0;
  for (const Stage& stage : partition.stages)
    for (const TopologyNode& node : topology.nodes)
      for (int layer = stage.shard.layer_begin; layer < stage.shard.layer_end; ++layer)
        kept += node.id == stage.node && node.held.contains(layer) ? 1 : 0;
  return kept;
}

TEST(KeptLayers, TwoNodesDoNotSwapPlaces) {
  Topology topology = topology_of({16 * kGb, 17 * kGb});
  const ModelCard card = card_of(32, 1000);
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology, card)), "b:0-16 a:16-32 ");
  topology.nodes[0].held = {{{0, 16}}, true, false};
  topology.nodes[1].held = {{{16, 32}}, false, true};
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology, card)), "a:0-16 b:16-32 ");
}

TEST(KeptLayers, OfEqualOrdersTheUsualOneStays) {
  Topology topology = topology_of({16 * kGb, 17 * kGb});
  for (TopologyNode& node : topology.nodes) node.held = {{{0, 32}}, true, true};
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology, card_of(32, 1000))), "b:0-16 a:16-32 ");
}

TEST(KeptLayers, TheEndsCountWithTheirTables) {
  // The embedding is worth more than the two layers that the other order would keep.
  ModelCard card = card_of(8, 1000);
  card.embedding_bytes = 5000;
  Topology topology = topology_of({16 * kGb, 17 * kGb});
  topology.nodes[0].held = {{}, true, false};
  topology.nodes[1].held = {{{0, 2}}, false, false};
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology, card)), "a:0-4 b:4-8 ");
  topology.nodes[0].held.embedding = false;
  EXPECT_EQ(shape(plan("ring-memory-weighted", topology, card)), "b:0-4 a:4-8 ");
}

// Any layout with the shares of now is found again, whatever its order.
TEST(KeptLayers, ALayoutOfRandomOrderIsKept) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::vector<uint64_t> usable(1 + random() % 10);
    for (uint64_t& bytes : usable) bytes = (64 + random() % 64) * kGb + random() % kGb;
    Topology topology = topology_of(usable);
    const ModelCard card = card_of(40, 1000);
    const auto usual = plan("ring-memory-weighted", topology, card);
    std::vector<Stage> stages = usual->stages;
    std::shuffle(stages.begin(), stages.end(), random);
    int next = 0;
    for (Stage& stage : stages) {
      const int layers = stage.shard.layers();
      stage.shard.layer_begin = next;
      stage.shard.layer_end = next += layers;
    }
    hold(topology, stages);
    const auto again = plan("ring-memory-weighted", topology, card);
    EXPECT_EQ(again->stages, stages);
  }
}

TEST(KeptLayers, RandomHoldingsBreakNoRuleAndCostNothing) {
  int better = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Case made = random_case(seed + 2'000'000, seed % 3 == 0);
    const auto usual = plan("ring-memory-weighted", made.topology, made.card, made.request);
    std::mt19937_64 random(seed);
    for (TopologyNode& node : made.topology.nodes) {
      const int begin = static_cast<int>(random() % static_cast<uint64_t>(made.card.layer_count));
      const auto most = static_cast<uint64_t>(made.card.layer_count - begin);
      node.held.spans = {{begin, begin + 1 + static_cast<int>(random() % most)}};
      node.held.embedding = begin == 0;
    }
    const auto keeping = plan("ring-memory-weighted", made.topology, made.card, made.request);
    ASSERT_EQ(keeping.ok(), usual.ok());
    if (!usual.ok()) continue;
    expect_valid(made, *keeping, true);
    EXPECT_EQ(keeping->stages.size(), usual->stages.size());
    EXPECT_EQ(keeping->kv_capacity_tokens, usual->kv_capacity_tokens);
    better += layers_kept(made.topology, *keeping) > layers_kept(made.topology, *usual) ? 1 : 0;
    std::shuffle(made.topology.nodes.begin(), made.topology.nodes.end(), random);
    EXPECT_EQ(shape(plan("ring-memory-weighted", made.topology, made.card, made.request)),
              shape(keeping));
  }
  EXPECT_GT(better, 100);
}

TEST(KeptLayers, SharesStayWithinOneLayerOfProportion) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<uint64_t> usable(1 + random() % 9);
    for (uint64_t& bytes : usable) bytes = (64 + random() % 64) << 30;
    Topology topology = topology_of(usable);
    for (TopologyNode& node : topology.nodes) {
      const int begin = static_cast<int>(random() % 30);
      node.held.spans = {{begin, begin + 1 + static_cast<int>(random() % 2)}};
    }
    const auto partition = plan("ring-memory-weighted", topology, card_of(32, 1000));
    const double sum = std::accumulate(usable.begin(), usable.end(), 0.0);
    for (const Stage& stage : partition->stages)
      EXPECT_NEAR(stage.shard.layers(),
                  static_cast<double>(usable_of(topology, stage.node)) / sum * 32, 1.0)
          << "seed " << seed;
  }
}

// Forty reloads, free memory off by up to a twentieth each time: what has to be fetched, in models.
double fetched_by_reloads(bool told) {
  std::mt19937_64 random(7);
  const ModelCard card = card_of(48, 1000);
  Topology topology = topology_of({30 * kGb, 30 * kGb, 30 * kGb, 15 * kGb});
  std::vector<std::vector<bool>> disk(4, std::vector<bool>(48, false));
  int fetched = 0;
  for (int load = 0; load < 40; ++load) {
    Topology now = topology;
    for (size_t i = 0; i < 4; ++i) {
      now.nodes[i].usable_bytes = now.nodes[i].usable_bytes / 1000 * (950 + random() % 100);
      for (int layer = 0; told && layer < 48; ++layer)
        if (disk[i][static_cast<size_t>(layer)]) now.nodes[i].held.append(layer);
    }
    const auto partition = plan("ring-memory-weighted", now, card);
    for (const Stage& stage : partition->stages)
      for (int layer = stage.shard.layer_begin; layer < stage.shard.layer_end; ++layer) {
        auto here = disk[static_cast<size_t>(stage.node.value[0] - 'a')].begin() + layer;
        fetched += *here ? 0 : 1;
        *here = true;
      }
  }
  return fetched / 48.0;
}

TEST(KeptLayers, ReloadsFetchLittle) {
  EXPECT_GT(fetched_by_reloads(false), 2.0);
  EXPECT_LT(fetched_by_reloads(true), 1.35);
}

TEST(BestRanges, EqualsBruteForce) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const int layers = 1 + static_cast<int>(random() % 6);
    std::vector<uint64_t> table(3 * 8 * 8);
    for (uint64_t& entry : table) entry = random() % 12;
    const auto cost = [&](int node, int begin, int end) -> std::optional<RangeCost> {
      const uint64_t entry = table[static_cast<size_t>((node * 8 + begin) * 8 + end)];
      if (entry == 0) return std::nullopt;
      return RangeCost{entry / 4, entry % 4};
    };
    std::optional<RangeCost> least;
    for (int first = 0; first <= layers; ++first)
      for (int second = first; second <= layers; ++second) {
        const auto a = cost(0, 0, first), b = cost(1, first, second), c = cost(2, second, layers);
        if (!a || !b || !c) continue;
        const RangeCost sum{a->major + b->major + c->major, a->minor + b->minor + c->minor};
        if (!least || sum < *least) least = sum;
      }
    const auto best = best_ranges(3, layers, cost);
    ASSERT_EQ(best.has_value(), least.has_value()) << "seed " << seed;
    if (!best) continue;
    EXPECT_EQ(best->cost, *least) << "seed " << seed;
  }
}

// --- topology -----------------------------------------------------------------------------------

TEST(Topology, NodesOfOneMachineShareItsMemory) {
  const auto info = [](const char* id, const char* host_name, const char* address) {
    NodeInfo node;
    node.id = {id};
    node.device.host_name = host_name;
    node.device.memory_total_bytes = 10 * kGb;
    node.device.memory_free_bytes = 9 * kGb;
    node.addresses = {{"127.0.0.1", 1, "loopback"}};
    if (*address != 0) node.addresses.push_back({address, 1, "ethernet"});
    return node;
  };
  const Topology topology = make_topology({info("d", "pi", "10.0.0.9"), info("b", "pi", "10.0.0.8"),
                                           info("c", "pi", "10.0.0.8"), info("a", "desk", "")});
  std::vector<uint64_t> usable;
  for (const TopologyNode& node : topology.nodes) usable.push_back(node.usable_bytes);
  EXPECT_EQ(usable, (std::vector<uint64_t>{8 * kGb, 4 * kGb, 4 * kGb, 8 * kGb}));
}

}  // namespace
}  // namespace exo
