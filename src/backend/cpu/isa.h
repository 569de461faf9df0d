// Which instruction set levels this machine has, each a table of kernels on top of the one before.
// One file per architecture and system defines isa_levels(). Pure, thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "backend/cpu/kernels.h"
#include "base/result.h"

namespace exo::cpu {

// Lowest ("scalar") first; later levels are better.
std::vector<Kernels> isa_levels();

// The best level, or the one called `name`; an Error lists what there is.
Result<Kernels> choose_kernels(std::string_view name);

}  // namespace exo::cpu
