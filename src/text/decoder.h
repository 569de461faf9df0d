// TokenDecoder: tokens -> text, as the "decoder" of tokenizer.json says, written as a stream so
// that decoding all at once and token by token are the same computation. A TokenDecoder is
// immutable and thread-safe; a DecodeChain is one stream's state, not thread-safe. Parsing fails
// with `unsupported` naming an unknown type.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/json.h"

namespace exo {

// What a step of the chain takes: a token is any number of text() calls (whole characters) and one
// end_token(); finish() comes last, once.
class DecodeSink {
 public:
  virtual ~DecodeSink() = default;
  virtual void text(std::string_view part) = 0;
  virtual void end_token() = 0;
  virtual void finish() = 0;
};

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  // A step in its initial state, which hands on what is certain to `next` as early as it can.
  virtual std::unique_ptr<DecodeSink> make_step(std::unique_ptr<DecodeSink> next) const = 0;
  // What a token contributes to the text in the middle of a stream, as bytes.
  virtual std::string token_bytes(std::string token) const = 0;
};

// null gives a TokenDecoder too: tokens joined by spaces.
Result<std::unique_ptr<const TokenDecoder>> parse_decoder(const Json& value);

class DecodeChain {
 public:
  explicit DecodeChain(const TokenDecoder& decoder);
  // The text that became certain.
  std::string push(std::string_view token);
  std::string finish();

 private:
  std::unique_ptr<std::string> output_;
  std::unique_ptr<DecodeSink> first_;
};

}  // namespace exo
