#include "text/token_model.h"

#include <fmt/core.h>

#include "text/bpe.h"
#include "text/json_parts.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace exo {

Result<void> VocabularyTable::add(std::string_view token, int64_t id) {
  if (id < 0 || id >= kMaxTokens) {
    return corrupt(fmt::format("token id {} is not between 0 and {}", id, kMaxTokens - 1));
  }
  const auto index = static_cast<size_t>(id);
  if (index >= tokens_.size()) tokens_.resize(index + 1, nullptr);
  const auto [entry, added] = ids_.insert_or_assign(
      valid_utf8(token) ? std::string(token) : repaired_utf8(token), static_cast<TokenId>(id));
  (void)added;
  tokens_[index] = &entry->first;
  return {};
}

std::optional<TokenId> VocabularyTable::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional<TokenId>(found->second);
}

bool VocabularyTable::has(TokenId id) const {
  return id >= 0 && id < size() && tokens_[static_cast<size_t>(id)] != nullptr;
}

Result<VocabularyTable> read_vocabulary_object(const JsonObject& model) {
  const JsonObject* object = TRY(get_object(model, "vocab"));
  if (object == nullptr) return corrupt("the model has no 'vocab'");
  VocabularyTable table;
  for (const auto& entry : *object) {
    const std::string_view token(entry.key().data(), entry.key().size());
    boost::json::error_code error;
    const auto id = entry.value().is_number() ? entry.value().to_number<int64_t>(error) : -1;
    if (error || !entry.value().is_number())
      return corrupt(fmt::format("the id of token '{}' is not a whole number", token));
    TRY(table.add(token, id));
  }
  return table;
}

Result<std::unique_ptr<const TokenModel>> parse_token_model(const Json& value) {
  if (!value.is_object()) return corrupt("'model' must be an object");
  const JsonObject& object = value.get_object();
  // Old files leave the type out; merges say that it is BPE.
  const bool has_merges = TRY(get_array(object, "merges")) != nullptr;
  const std::string type = TRY(string_or(object, "type", has_merges ? "BPE" : ""));
  if (type == "BPE") return parse_bpe(object);
  if (type == "WordPiece") return parse_wordpiece(object);
  const bool has_scores = type.empty() && find_value(object, "unk_id") != nullptr;
  if (type == "Unigram" || has_scores) return parse_unigram(object);
  return unsupported(fmt::format("tokenizer model '{}' is not supported", type));
}

}  // namespace exo
