// Tokenizer: text -> token ids and back, exactly as Hugging Face's `tokenizers` does for the same
// tokenizer.json. Immutable after loading, all calls thread-safe. Loading fails with an Error that
// names what is unknown; encode and decode cannot fail (invalid UTF-8 is replaced by U+FFFD first).
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "core/json.h"
#include "core/vocabulary.h"

namespace exo {

// One streamed decode: what StreamDecoder runs on. Must not outlive its tokenizer.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual std::string push(TokenId id) = 0;  // the text that became certain
  virtual std::string finish() = 0;          // the rest; nothing may follow
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Special (added) tokens in the text are recognised when parse_special; no BOS or EOS is added.
  virtual std::vector<TokenId> encode(std::string_view text, bool parse_special = true) const = 0;
  // What the post-processor of tokenizer.json adds around one text (BOS, [CLS] ... [SEP]).
  virtual std::vector<TokenId> encode_with_special(std::string_view text) const = 0;
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special = false) const = 0;
  // The default joins what vocabulary() has for each id, for tokenizers without a decoder.
  virtual std::unique_ptr<DecodeStream> decode_stream(bool skip_special) const;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual int size() const = 0;  // ids are 0 .. size-1
};

// A folder with tokenizer.json, or with SentencePiece's tokenizer.model and what goes with it
// (tokenizer_config.json, added_tokens.json).
Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::filesystem::path& folder);
Result<std::shared_ptr<const Tokenizer>> parse_tokenizer_json(std::string_view text);
// From the bytes of a tokenizer.model; `config` and `added_tokens` are the objects of the two other
// files, empty where there are none.
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_sentencepiece(
    std::string_view model, const JsonObject& config, const JsonObject& added_tokens);
// From GGUF metadata: keys "tokenizer.ggml.*" as a JSON object.
Result<std::shared_ptr<const Tokenizer>> tokenizer_from_gguf(const JsonObject& metadata);

}  // namespace exo
