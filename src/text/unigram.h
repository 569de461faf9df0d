// Unigram (SentencePiece, T5, XLM-R): of all ways to write a piece as tokens, the one whose scores
// add up highest, found by Viterbi over byte positions. Immutable, thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "text/token_model.h"

namespace exo {

struct UnigramConfig {
  VocabularyTable vocabulary;
  std::vector<double> scores;  // of each id, finite
  std::vector<bool> matched;   // of each id: may it stand for text? All may where this is empty
  std::optional<TokenId> unknown;
  bool byte_fallback = false;
};
std::unique_ptr<const TokenModel> make_unigram(UnigramConfig config);

Result<std::unique_ptr<const TokenModel>> parse_unigram(const JsonObject& object);

}  // namespace exo
