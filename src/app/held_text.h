// What nodes hold of models, in words: "0-5, 11".
#pragma once

#include <string>

#include "core/json.h"

namespace exo {

std::string spans_text(const JsonArray& spans);  // inclusive, as people count; "" for none
// One entry of `held` of a node: "tiny-3b: layers 0-5 of 12 on disk, 5.0 MB, spare: 3-5".
std::string held_text(const JsonObject& held);
// The `nodes` of a model: "desk all; pi 0-5 (spare 3-5)"; "-" for none.
std::string holders_text(const JsonArray& nodes);

}  // namespace exo
