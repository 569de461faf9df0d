// StreamDecoder: token ids one after the other -> text, never half a character. What it has emitted
// so far plus finish() equals tokenizer.decode(all ids, skip_special). Constant work per token. One
// per stream, not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace exo {

class StreamDecoder {
 public:
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special);
  std::string push(TokenId id);  // the text that became certain; may be empty
  std::string finish();          // what is left; incomplete UTF-8 becomes U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;  // outlives stream_
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace exo
