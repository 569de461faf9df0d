// How fast is each op on each backend? Weights are read from memory as a model would: each case
// owns several copies of its weight, together larger than the caches. `read` is the limit to hold
// decode against: a plain streaming read of as many bytes.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "backend/ops_cases.h"
#include "base/thread_pool.h"

namespace exo {
namespace {

constexpr double kCacheBytes = 128e6;  // beyond any last level cache

void run_case(benchmark::State& state, const cases::OpCase& c, const BackendOptions& options) {
  const auto backend = make_backend("cpu", options).value();
  const double copies = c.bytes > 0 ? std::min(64.0, 1.0 + kCacheBytes / c.bytes) : 1.0;
  std::vector<cases::Run> runs;
  for (int i = 0; i < static_cast<int>(copies); ++i) runs.push_back(c.prepare(*backend));
  size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(runs[next++ % runs.size()]());
  using benchmark::Counter;
  if (c.bytes > 0) state.counters["B/s"] = Counter(c.bytes, Counter::kIsIterationInvariantRate);
  if (c.flops > 0) state.counters["FLOP/s"] = Counter(c.flops, Counter::kIsIterationInvariantRate);
}

void read_memory(benchmark::State& state, int threads) {
  ThreadPool pool(threads);
  const std::vector<uint64_t> memory(static_cast<size_t>(kCacheBytes) / 8, 1);
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()));
  for (auto _ : state) {
    pool.parallel_for(static_cast<int64_t>(memory.size()), 1 << 15,
                      [&](int64_t begin, int64_t end, int worker) {
                        uint64_t sum[8] = {};
                        for (int64_t i = begin; i + 8 <= end; i += 8)
                          for (int j = 0; j < 8; ++j) sum[j] += memory[static_cast<size_t>(i + j)];
                        for (const uint64_t part : sum) sums[static_cast<size_t>(worker)] += part;
                      });
  }
  benchmark::DoNotOptimize(sums);
  state.counters["B/s"] =
      benchmark::Counter(kCacheBytes, benchmark::Counter::kIsIterationInvariantRate);
}

std::vector<cases::OpCase> bench_cases() {
  std::vector<cases::OpCase> all;
  for (const DType dtype :
       {DType::f32, DType::bf16, DType::f16, DType::q8_0, DType::q4_0, DType::q4_k, DType::q6_k})
    for (const int64_t rows : {1, 4, 8, 32, 512})
      all.push_back(cases::matmul(dtype, rows, 2048, 2048));
  const cases::AttentionShape llama{.heads = 32, .kv_heads = 8, .k_dim = 64, .v_dim = 64};
  auto shape = llama;
  shape.spans = {{4096, 1}};
  all.push_back(cases::attention("decode_4096", shape));
  shape.spans = {{0, 512}};
  all.push_back(cases::attention("prefill_512", shape));
  all.push_back(cases::attention(
      "decode_4096_one_kv_head",
      {.heads = 4, .kv_heads = 1, .k_dim = 256, .v_dim = 256, .spans = {{4096, 1}}}));
  using T = const Tensor&;
  all.push_back(cases::rows("rms_norm", 1, 2048,
                            [](Ops& ops, T x, T, T w) { return ops.rms_norm(x, w, 1e-5f); }));
  all.push_back(
      cases::rows("swiglu", 512, 8192, [](Ops& ops, T x, T y, T) { return ops.swiglu(x, y); }));
  return all;
}

void register_all(const std::string& isa) {
  for (const int threads : {1, 2}) {
    const std::string suffix = "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(("read" + suffix).c_str(), [=](benchmark::State& state) {
      read_memory(state, threads);
    })->UseRealTime();
    for (const cases::OpCase& c : bench_cases())
      benchmark::RegisterBenchmark((c.name + suffix).c_str(), [=](benchmark::State& state) {
        run_case(state, c, {.threads = threads, .isa = isa});
      })->UseRealTime();
  }
}

}  // namespace
}  // namespace exo

// EXO_CPU_ISA=avx2 bench_ops: the kernels of a lower level.
int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const char* isa = std::getenv("EXO_CPU_ISA");
  exo::register_all(isa ? isa : "");
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
