#include "backend/cpu/isa.h"

#include <fmt/core.h>

namespace exo::cpu {

Result<Kernels> choose_kernels(std::string_view name) {
  const std::vector<Kernels> levels = isa_levels();
  if (name.empty()) return levels.back();
  std::string known;
  for (const Kernels& level : levels) {
    if (level.level == name) return level;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", level.level);
  }
  return invalid_argument(
      fmt::format("this machine has no instruction set level '{}'; it has: {}", name, known));
}

}  // namespace exo::cpu
