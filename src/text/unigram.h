// Unigram (SentencePiece, T5, XLM-R): of all ways to write a piece as tokens, the one whose scores
// add up highest, found by Viterbi over byte positions. Immutable, thread-safe.
#pragma once

#include <memory>

#include "text/token_model.h"

namespace exo {

Result<std::unique_ptr<const TokenModel>> parse_unigram(const JsonObject& object);

}  // namespace exo
