// A hostile tokenizer.json and text to encode with it. The input is the file, a NUL, and the text.
// Whatever loads must give ids of its own, and the same text streamed as decoded at once.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t border = input.find('\0');
  const auto loaded = exo::parse_tokenizer_json(input.substr(0, border));
  if (!loaded.ok()) return 0;
  const auto& tokenizer = *loaded;
  const std::string_view text =
      border == std::string_view::npos ? std::string_view("Hi \xC3\xA9\xFF") : input.substr(border);
  (void)tokenizer->encode_with_special(text.substr(0, text.size() / 2));
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
