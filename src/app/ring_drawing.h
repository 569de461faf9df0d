// The ring as text: one box per node in ring order, joined by its links.
#pragma once

#include <string>

#include "core/json.h"

namespace exo {

// `topology` is the answer of GET /v1/topology. Nodes that hold no layers are listed below the
// ring.
std::string draw_ring(const JsonObject& topology);

}  // namespace exo
