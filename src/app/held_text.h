// What nodes hold of models, in words: "0-5, 11", "layers 0-5 on disk, 6-11 of them spare".
#pragma once

#include <string>

#include "core/json.h"

namespace exo {

std::string spans_text(const JsonArray& spans);  // inclusive, as people count; "" for none
// One entry of `held` of a node: "tiny-3b: layers 0-5 of 12 on disk, spare 3-5".
std::string held_text(const JsonObject& held);
// The `nodes` of a model: "desk 0-5, pi 6-11 (spare 6-8)"; "-" for none.
std::string holders_text(const JsonArray& nodes);

}  // namespace exo
