// A hostile tokenizer.model. Whatever loads must give ids of its own for any text, and the same
// text streamed as decoded at once.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto loaded = exo::tokenizer_from_sentencepiece(input, {}, {});
  if (!loaded.ok()) return 0;
  const auto& tokenizer = *loaded;
  const std::string text = "  Hi ab \xC3\xA9\xFF" + std::string(input.substr(0, 256));
  (void)tokenizer->encode_with_special(text);
  const auto ids = tokenizer->encode(text, size % 2 == 0);
  exo::StreamDecoder decoder(tokenizer, size % 3 == 0);
  std::string streamed;
  for (const exo::TokenId id : ids) {
    CHECK(id >= 0 && id < tokenizer->size(), "an id outside of the vocabulary");
    streamed += decoder.push(id);
  }
  streamed += decoder.finish();
  CHECK(streamed == tokenizer->decode(ids, size % 3 == 0), "streamed text differs");
  return 0;
}
