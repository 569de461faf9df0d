// exo bench MODEL: prefill and decode on this device, measured as llama-bench does: a prompt of p
// tokens, then n tokens after it, each repeated and the median reported.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <thread>
#include <vector>

#include "app/console.h"
#include "app/local_model.h"
#include "app/verbs.h"
#include "inference/device_probe.h"

namespace exo {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Measured {
  BenchResult last;
  double prefill_per_s = 0;
  double decode_per_s = 0;
  uint64_t step_bytes = 0;
  double read_gb_per_s = 0;  // 0 = not measured
  // How far one sequence's decode is from reading the weights as fast as memory can be read.
  double share_of_read() const {
    return decode_per_s / last.sequences * static_cast<double>(step_bytes) * 1e-9 / read_gb_per_s;
  }
};

Result<Measured> measure(const CommandLine& line) {
  NodeFlags node = line.node;
  if (line.bench.null_backend) node.inference_engine = "null";
  const BenchOptions shape{line.bench.prompt_tokens, line.bench.generate_tokens, line.bench.batch,
                           line.bench.depth_tokens};
  const int per_sequence = shape.depth_tokens + shape.prompt_tokens + shape.output_tokens + 32;
  LocalRing ring = TRY(load_local_ring(line.bench.model, node, "", per_sequence * shape.sequences));
  Measured measured;
  measured.step_bytes = ring.step_bytes();
  std::vector<double> prefill, decode;
  for (int i = 0; i < line.bench.repetitions; ++i) {
    measured.last = TRY(ring.bench(shape));
    prefill.push_back(measured.last.prefill_tokens_per_second());
    decode.push_back(measured.last.decode_tokens_per_second());
    std::fprintf(stderr, "%s",
                 dim(fmt::format("run {} of {}: prefill {:.1f} tokens/s, decode {:.1f} tokens/s\n",
                                 i + 1, line.bench.repetitions, prefill.back(), decode.back()),
                     stderr)
                     .c_str());
  }
  measured.prefill_per_s = median(prefill);
  measured.decode_per_s = median(decode);
  return measured;
}

// After the model is gone from memory.
Result<Measured> measure_all(const CommandLine& line) {
  Measured measured = TRY(measure(line));
  if (line.bench.read_bandwidth)
    measured.read_gb_per_s = measure_stream(measured.step_bytes, line.node.threads);
  if (line.bench.read_bandwidth && measured.read_gb_per_s == 0)
    std::fputs("exo: too little memory is free to read as much as the weights take\n", stderr);
  return measured;
}

JsonObject to_json(const CommandLine& line, const Measured& measured) {
  const auto part = [](int tokens, double per_s) {
    return JsonObject{{"tokens", tokens}, {"tokens_per_s", per_s}};
  };
  JsonObject json = {
      {"model", line.bench.model},
      {"engine", line.bench.null_backend ? "null" : line.node.inference_engine},
      {"threads", line.node.threads > 0 ? line.node.threads
                                        : static_cast<int>(std::thread::hardware_concurrency())},
      {"batch", measured.last.sequences},
      {"depth", measured.last.depth_tokens},
      {"repetitions", line.bench.repetitions},
      {"prefill", part(measured.last.prompt_tokens, measured.prefill_per_s)},
      {"decode", part(measured.last.output_tokens, measured.decode_per_s)}};
  if (measured.read_gb_per_s > 0)
    json["read"] = JsonObject{{"bytes", measured.step_bytes},
                              {"gb_per_s", measured.read_gb_per_s},
                              {"decode_share", measured.share_of_read()}};
  return json;
}

}  // namespace

int run_bench(const CommandLine& line) {
  const Result<Measured> measured = measure_all(line);
  if (!measured.ok()) return fail(measured.error());
  const BenchResult& last = measured->last;
  if (last.prompt_tokens < line.bench.prompt_tokens ||
      last.output_tokens < line.bench.generate_tokens ||
      last.depth_tokens < line.bench.depth_tokens)
    std::fprintf(stderr,
                 "exo: clamped to the model's context: depth %d, prompt %d, generated %d tokens\n",
                 last.depth_tokens, last.prompt_tokens, last.output_tokens);
  if (line.json) {
    print_json(to_json(line, *measured));
    return 0;
  }
  const auto row = [&](const char* test, int tokens, double per_s) {
    return Row{line.bench.model, fmt::format("{}{}", test, tokens),
               std::to_string(last.depth_tokens), std::to_string(last.sequences),
               fmt::format("{:.2f}", per_s)};
  };
  std::fputs(format_table({"MODEL", "TEST", "DEPTH", "BATCH", "TOKENS/S"},
                          {row("pp", last.prompt_tokens, measured->prefill_per_s),
                           row("tg", last.output_tokens, measured->decode_per_s)})
                 .c_str(),
             stdout);
  if (measured->read_gb_per_s > 0)
    fmt::print(
        "memory is read at {:.1f} GB/s; decode takes its {} of weights at {:.0f} % of that\n",
        measured->read_gb_per_s, format_bytes(measured->step_bytes),
        measured->share_of_read() * 100);
  return 0;
}

}  // namespace exo
