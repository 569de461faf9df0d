// TokenModel: the third step of encoding, one piece of text -> token ids (BPE, Unigram, WordPiece).
// Immutable, thread-safe; encode() cannot fail. VocabularyTable is the part they share: which token
// has which id.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "core/json.h"

namespace exo {

// No published vocabulary has more than 262,400 entries.
inline constexpr TokenId kMaxTokens = 1 << 20;

class VocabularyTable {
 public:
  // Refuses ids outside of [0, kMaxTokens) and repairs invalid UTF-8. A token met again keeps its
  // last id.
  Result<void> add(std::string_view token, int64_t id);
  std::optional<TokenId> find(std::string_view token) const;
  TokenId size() const { return static_cast<TokenId>(tokens_.size()); }  // ids are 0 .. size-1
  bool has(TokenId id) const;
  const std::string& token(TokenId id) const { return *tokens_[static_cast<size_t>(id)]; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // into ids_; null where an id is not used
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual void encode(std::string_view piece, std::vector<TokenId>& out) const = 0;
  virtual const VocabularyTable& vocabulary() const = 0;
};

// The "model" of tokenizer.json.
Result<std::unique_ptr<const TokenModel>> parse_token_model(const Json& value);
Result<VocabularyTable> read_vocabulary_object(const JsonObject& model);

}  // namespace exo
