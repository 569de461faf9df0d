// Questions that every ARM system answers in its own way.
#pragma once

namespace exo::cpu {

bool arm_has_dotprod();
bool arm_has_i8mm();

}  // namespace exo::cpu
