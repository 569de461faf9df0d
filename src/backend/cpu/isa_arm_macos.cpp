#include <sys/sysctl.h>

#include <cstddef>

#include "backend/cpu/isa_arm.h"

namespace exo::cpu {

namespace {

bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof value;
  return ::sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

bool arm_has_dotprod() { return has("hw.optional.arm.FEAT_DotProd"); }
bool arm_has_i8mm() { return has("hw.optional.arm.FEAT_I8MM"); }

}  // namespace exo::cpu
