#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "backend/cpu/isa_arm.h"

namespace exo::cpu {

bool arm_has_dotprod() { return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool arm_has_i8mm() { return (::getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }

}  // namespace exo::cpu
