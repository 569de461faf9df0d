// One line per message or effect, for --verbose and for the trace hash.
#pragma once

#include <string>

#include "orchestration/core.h"

namespace exo::sim {

std::string describe(const Message& message);
std::string describe(const CoreEffect& effect);
std::string describe(const StageEvent& event);

}  // namespace exo::sim
