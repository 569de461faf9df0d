#include <cpuid.h>

#include "backend/cpu/isa.h"

namespace exo::cpu {
namespace {

// __builtin_cpu_supports asks the system too whether it saves the wide registers.
bool has_avx2() {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
// Its own leaf: __builtin_cpu_supports of GCC 12 does not know the name.
bool has_avx_vnni() {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_vnni() { return __builtin_cpu_supports("avx512vnni"); }
// Intel's makes half the products of float multiply-adds in the same time (bench/RESULTS.md,
// Sapphire Rapids): there bf16 is better widened, and activations stay exact. AMD's makes more of
// them.
bool has_fast_bf16() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd") != 0;
}

}  // namespace

std::vector<Kernels> isa_levels() {
  const struct {
    bool (*present)();
    void (*fill)(Kernels&);
    bool needed = true;  // by the steps after it
  } steps[] = {{has_avx2, fill_avx2},
               {has_avx_vnni, fill_avx_vnni, false},
               {has_avx512, fill_avx512},
               {has_vnni, fill_avx512_vnni},
               {has_fast_bf16, fill_avx512_bf16}};
  Kernels kernels;
  fill_scalar(kernels);
  std::vector<Kernels> levels{kernels};
  for (const auto& step : steps) {
    if (step.present()) {
      step.fill(kernels);
      levels.push_back(kernels);
    } else if (step.needed) {
      break;
    }
  }
  return levels;
}

}  // namespace exo::cpu
