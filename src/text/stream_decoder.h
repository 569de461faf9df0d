// StreamDecoder: token ids one after the other -> text, never half a character. What it has emitted
// so far plus finish() equals tokenizer.decode(all ids it shows). Constant work per token. One per
// stream, not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace exo {

class StreamDecoder {
 public:
  // Special tokens that are left out still come where `shown` marks them (by id; may be shorter).
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special,
                std::vector<bool> shown = {});
  std::string push(TokenId id);  // the text that became certain; may be empty
  std::string finish();          // what is left; incomplete UTF-8 becomes U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;  // outlives stream_
  std::unique_ptr<DecodeStream> stream_;
  bool skip_special_;
  std::vector<bool> shown_;
};

}  // namespace exo
