#include <sys/sysctl.h>

#include <cstddef>

#include "backend/cpu/isa_arm.h"

namespace exo::cpu {

bool arm_has_dotprod() {
  int value = 0;
  size_t size = sizeof value;
  return ::sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 &&
         value != 0;
}

}  // namespace exo::cpu
