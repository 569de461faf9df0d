// One question that every ARM system answers in its own way.
#pragma once

namespace exo::cpu {

bool arm_has_dotprod();

}  // namespace exo::cpu
