// exo_sim SEED | FIRST..LAST [--verbose] [--quiet]: tells one run of the cluster simulator, or
// many, and says which checks failed. The same seed always gives the same run.
#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "scenario.h"

namespace {

bool parse(std::string_view text, uint64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

int usage() {
  fmt::print(stderr,
             "usage: exo_sim SEED | FIRST..LAST [--verbose] [--quiet]\n"
             "  exo_sim 42 --verbose     every message of run 42\n"
             "  exo_sim 1..500 --quiet   only failures, and a last line\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t first = 0, last = 0;
  bool given = false, verbose = false, quiet = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const size_t dots = arg.find("..");
    if (arg == "--verbose") {
      verbose = true;
    } else if (arg == "--quiet") {
      quiet = true;
    } else if (!given && dots != arg.npos) {
      given = parse(arg.substr(0, dots), &first) && parse(arg.substr(dots + 2), &last);
      if (!given || last < first) return usage();
    } else if (!given && parse(arg, &first)) {
      given = true;
      last = first;
    } else {
      return usage();
    }
  }
  if (!given) return usage();
  int failures = 0;
  for (uint64_t seed = first;; ++seed) {
    const exo::sim::ScenarioResult result = exo::sim::run_scenario(seed, verbose);
    for (const std::string& problem : result.problems)
      fmt::print("FAILED seed {} {}\n", seed, problem);
    failures += !result.problems.empty();
    if (!quiet) fmt::print("seed {}: {}\n", seed, result.summary);
    std::fflush(stdout);
    if (seed == last) break;
  }
  if (failures == 0)
    fmt::print("ok {}-{}\n", first, last);
  else
    fmt::print("FAILED {} of {} seeds\n", failures, last - first + 1);
  return failures == 0 ? 0 : 1;
}
