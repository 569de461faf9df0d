// What a node knows of its cluster and its models, as JSON for people, the page and scripts. The
// shape is described in docs/api.md. Pure.
#pragma once

#include "core/json.h"
#include "orchestration/node.h"

namespace exo {

JsonObject topology_json(const NodeStatus& status, int64_t now_us, int64_t wall_ms);
JsonObject model_json(const ModelStatus& model, int64_t created, bool with_source);
JsonObject health_json(const NodeStatus& status);

}  // namespace exo
