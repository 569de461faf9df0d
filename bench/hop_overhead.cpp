// What does one more node cost per token, computing aside? Whole nodes in one process (driver,
// core, stage threads, wire format; no network) with an engine that computes nothing: the time per
// token of one stream over 1, 2 and 3 nodes. The difference per node is the overhead of a hop.
#include <benchmark/benchmark.h>

#include "orchestration/test_cluster.h"

namespace {

void one_stream(benchmark::State& state) {
  exo::TestCluster::Options options;
  options.nodes = static_cast<size_t>(state.range(0));
  exo::TestCluster cluster(options);
  if (!cluster.wait_until_linked()) return state.SkipWithError("the nodes did not find each other");
  const auto spread = [&](const exo::CoreView& view) {
    return !view.placements.empty() && view.placements[0].state == exo::PlacementState::ready &&
           view.placements[0].placement.stages.size() == options.nodes;
  };
  auto loading = cluster[0].load_model("fake");
  if (!loading.ok() || !cluster[0].wait_until(spread, 20'000))
    return state.SkipWithError("the model was not spread over all nodes");
  int64_t tokens = 0;
  for (auto _ : state) {
    exo::GenerationRequest request;
    request.model = "fake";
    request.prompt_ids = std::vector<exo::TokenId>{1, 2, 3};
    request.sampling.temperature = 0;
    request.sampling.max_tokens = 200;
    auto started = cluster[0].generate(request);
    if (!started.ok()) return state.SkipWithError(started.error().message.c_str());
    const exo::Answer answer = exo::take(*started->stream);
    if (answer.failed) return state.SkipWithError(answer.error.message.c_str());
    tokens += static_cast<int64_t>(answer.ids.size());
  }
  state.counters["per_token"] = benchmark::Counter(
      static_cast<double>(tokens), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(one_stream)->ArgName("nodes")->Arg(1)->Arg(2)->Arg(3)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
