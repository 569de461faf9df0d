// PreTokenizer: the second step of encoding, one text -> the pieces the model sees one by one, as
// the "pre_tokenizer" of tokenizer.json says. Immutable, thread-safe. Parsing fails with
// `unsupported` naming an unknown type.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "text/regex.h"

namespace exo {

// GPT-2's split, the default of ByteLevel.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct PieceList {
  std::string text;               // valid UTF-8
  std::vector<TextRange> pieces;  // of text, in order; what lies between them was removed
  bool at_start = false;          // text stands at the beginning of the whole input
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PieceList& list) const = 0;
};

// null (no pre-tokenizer) gives nullptr.
Result<std::unique_ptr<const PreTokenizer>> parse_pre_tokenizer(const Json& value);

}  // namespace exo
