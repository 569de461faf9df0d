#include "text/wordpiece.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "text/json_parts.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr int64_t kMaxCharsLimit = 10'000;  // matching is quadratic in a piece's length

class WordPiece final : public TokenModel {
 public:
  WordPiece(VocabularyTable vocabulary, TokenId unknown, std::string prefix, size_t max_chars)
      : vocabulary_(std::move(vocabulary)),
        unknown_(unknown),
        prefix_(std::move(prefix)),
        max_chars_(max_chars) {}

  void encode(std::string_view piece, std::vector<TokenId>& out) const override {
    const auto chars =
        static_cast<size_t>(std::count_if(piece.begin(), piece.end(), is_char_start));
    const size_t before = out.size();
    if (chars <= max_chars_ && cover(piece, out)) return;
    out.resize(before);
    out.push_back(unknown_);
  }
  const VocabularyTable& vocabulary() const override { return vocabulary_; }

 private:
  bool cover(std::string_view piece, std::vector<TokenId>& out) const {
    for (size_t begin = 0; begin < piece.size();) {
      std::string candidate = begin > 0 ? prefix_ : "";
      const size_t prefix_bytes = candidate.size();
      candidate += piece.substr(begin);
      auto id = vocabulary_.find(candidate);
      while (!id && candidate.size() > prefix_bytes) {
        candidate.resize(previous_char_start(candidate, candidate.size()));
        if (candidate.size() > prefix_bytes) id = vocabulary_.find(candidate);
      }
      if (!id) return false;
      out.push_back(*id);
      begin += candidate.size() - prefix_bytes;
    }
    return true;
  }

  VocabularyTable vocabulary_;
  TokenId unknown_;
  std::string prefix_;
  size_t max_chars_;
};

}  // namespace

Result<std::unique_ptr<const TokenModel>> parse_wordpiece(const JsonObject& object) {
  VocabularyTable vocabulary = TRY(read_vocabulary_object(object));
  const std::string name = TRY(string_or(object, "unk_token", "[UNK]"));
  const auto unknown = vocabulary.find(name);
  if (!unknown) return corrupt(fmt::format("unk_token '{}' is not in the vocabulary", name));
  auto prefix = TRY(string_or(object, "continuing_subword_prefix", "##"));
  const int64_t chars = TRY(get_int(object, "max_input_chars_per_word")).value_or(100);
  const auto max_chars = static_cast<size_t>(std::clamp<int64_t>(chars, 0, kMaxCharsLimit));
  return std::unique_ptr<const TokenModel>(
      std::make_unique<WordPiece>(std::move(vocabulary), *unknown, std::move(prefix), max_chars));
}

}  // namespace exo
