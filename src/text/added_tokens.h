// AddedTokens: the tokens that are found in the text before the model sees it ("added_tokens" of
// tokenizer.json), special ones among them. Filled while loading, then immutable and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "core/json.h"
#include "text/normalizer.h"

namespace exo {

struct AddedToken {
  std::string content;
  TokenId id = -1;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalized text
  bool special = false;
};
// `id` is left as declared, or -1 where the entry has none.
Result<AddedToken> read_added_token(const Json& value);

// Fixed strings, found leftmost, and the longest of those that begin there: a trie over bytes.
class TokenTrie {
 public:
  void add(std::string_view text, size_t value);
  bool empty() const { return edges_.empty(); }
  struct Match {
    size_t begin = 0, end = 0, value = 0;
  };
  bool find(std::string_view text, size_t from, Match& match) const;

 private:
  static constexpr int64_t kNone = -1;
  bool longest_at(std::string_view text, size_t begin, Match& match) const;
  std::vector<int64_t> values_ = {kNone};         // of each node; node 0 is the root
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  bool starts_[256] = {};                         // the bytes some string begins with
};

// A stretch of text: an added token, or (id < 0) what lies between.
struct TextSection {
  size_t begin = 0, end = 0;
  TokenId id = -1;
};

class AddedTokens {
 public:
  void add(AddedToken token, const Normalizer* normalizer);
  const std::vector<AddedToken>& tokens() const { return tokens_; }

  // Cuts text at the tokens that are looked for before (or after) normalization.
  std::vector<TextSection> split(std::string_view text, bool normalized, bool parse_special) const;

 private:
  bool accept(std::string_view text, TokenTrie::Match& match, size_t done,
              bool parse_special) const;
  std::vector<AddedToken> tokens_;
  TokenTrie raw_, normalized_;
};

}  // namespace exo
