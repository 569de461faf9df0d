#include "backend/cpu/isa_arm.h"

#include "backend/cpu/isa.h"

namespace exo::cpu {

std::vector<Kernels> isa_levels() {
  Kernels kernels;
  fill_scalar(kernels);
  std::vector<Kernels> levels{kernels};
  fill_neon(kernels);
  levels.push_back(kernels);
  if (arm_has_dotprod()) {
    fill_neon_dotprod(kernels);
    levels.push_back(kernels);
  }
  if (arm_has_dotprod() && arm_has_i8mm()) {
    fill_neon_i8mm(kernels);
    levels.push_back(kernels);
  }
  return levels;
}

}  // namespace exo::cpu
