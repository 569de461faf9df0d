// WordPiece (BERT): the longest token that begins a piece, then the longest continuing one, and so
// on; a piece that cannot be covered is unknown as a whole. Immutable, thread-safe.
#pragma once

#include <memory>

#include "text/token_model.h"

namespace exo {

Result<std::unique_ptr<const TokenModel>> parse_wordpiece(const JsonObject& object);

}  // namespace exo
