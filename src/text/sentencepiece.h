// SentencePieces: a SentencePiece vocabulary with its rules, as tokenizer.model and GGUF files
// carry it, and the pipeline made of it. Plain values; pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/pipeline.h"
#include "text/token_model.h"

namespace exo {

// As numbered in sentencepiece_model.proto, and so in GGUF's tokenizer.ggml.token_type.
enum class PieceType {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

struct SentencePieces {
  VocabularyTable vocabulary;
  std::vector<PieceType> types;  // of each id
  std::vector<double> scores;    // of each id
  bool unigram = false;          // else BPE
  bool byte_fallback = true;
  std::optional<TokenId> unknown;
  bool add_dummy_prefix = true;
  bool prefix_once = false;  // only where the text begins, not behind each special token
  bool remove_extra_whitespaces = false;
  bool escape_whitespaces = true;
  std::string charsmap;  // "" or the bytes of precompiled_charsmap
};

// Without a post-processor. Control and user-defined pieces are added tokens.
Result<PipelineParts> sentencepiece_parts(SentencePieces pieces);

// Found in the text before the model sees it, for any kind of vocabulary.
std::vector<AddedToken> added_tokens_of(const VocabularyTable& vocabulary,
                                        const std::vector<PieceType>& types);

}  // namespace exo
