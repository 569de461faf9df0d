// PrecompiledCharsmap: SentencePiece's normalization table, as tokenizer.json carries it: base64 of
// a double-array trie (darts) over UTF-8, whose values point at NUL-terminated replacements.
// Immutable, thread-safe. Parsing fails with `corrupt`; a table that points outside of itself
// replaces nothing there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo {

class PrecompiledCharsmap {
 public:
  static Result<PrecompiledCharsmap> parse(std::string_view base64);
  std::string apply(std::string_view text) const;

 private:
  // The replacement of the shortest entry that `text` begins with.
  std::optional<std::string_view> replacement(std::string_view text) const;
  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace exo
