// The one Tokenizer there is: normalizer, pre-tokenizer, model, post-processor and decoder in a
// row, wherever they were read from. Immutable, thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace exo {

struct PipelineParts {
  std::unique_ptr<const Normalizer> normalizer;       // may be null
  std::unique_ptr<const PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<const TokenModel> model;
  std::unique_ptr<const TokenDecoder> decoder;
  PostProcessor post_processor;
  std::vector<AddedToken> added_tokens;
};

// Fails where an added token has an impossible id.
Result<std::shared_ptr<const Tokenizer>> make_pipeline(PipelineParts parts);

}  // namespace exo
