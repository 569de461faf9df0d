// Which node has which layers of which model on its disk, as JSON. Pure.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "orchestration/core.h"

namespace exo {

// Of one node: all models that it holds something of. `spare` are the layers of a placed model that
// it holds without computing them.
JsonArray held_json(const NodeInfo& node, const std::vector<PlacementInfo>& placements);

// Of one model (its source at a commit): the nodes of now that hold something of it.
JsonArray holders_json(const CoreView& core, const std::string& source);

}  // namespace exo
