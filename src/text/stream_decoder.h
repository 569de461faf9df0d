// StreamDecoder: token ids one after the other -> text, never half a character. What it has emitted
// so far plus finish() equals tokenizer.decode(all ids, skip_special). One per stream, not
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace exo {

class StreamDecoder {
 public:
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special);
  std::string push(TokenId id);  // the text that became certain; may be empty
  std::string finish();          // what is left; incomplete UTF-8 becomes U+FFFD

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::vector<TokenId>
      pending_;  // ids whose text is not final yet, preceded by enough context to decode them
  size_t emitted_bytes_ = 0;  // of the decoded pending_ text
};

}  // namespace exo
