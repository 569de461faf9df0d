#include "text/unigram.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "text/json_parts.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr double kUnknownPenalty = 10.0;  // SentencePiece's, below the lowest score
// The search looks at every prefix of what follows, up to the longest token.
constexpr size_t kMaxTokenBytes = 512;
constexpr size_t kMaxVocabularyBytes = 16 * 1024 * 1024;  // of all tokens

// A trie over bytes with sorted children, in one array.
class ScoreTrie {
 public:
  void add(std::string_view text, TokenId id) {
    uint32_t node = 0;
    for (const char c : text) {
      const auto [edge, added] = edges_.try_emplace(
          uint64_t{node} << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(ids_.size()));
      if (added) ids_.push_back(-1);
      node = edge->second;
    }
    ids_[node] = id;
  }
  // Calls visit(length, id) for each token that `text` begins with, the shortest first.
  template <class Visit>
  void prefixes(std::string_view text, Visit visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[i]));
      if (edge == edges_.end()) return;
      node = edge->second;
      if (ids_[node] >= 0) visit(i + 1, ids_[node]);
    }
  }

 private:
  std::vector<TokenId> ids_ = {-1};
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
};

class Unigram final : public TokenModel {
 public:
  explicit Unigram(UnigramConfig config)
      : vocabulary_(std::move(config.vocabulary)),
        scores_(std::move(config.scores)),
        matched_(std::move(config.matched)),
        unknown_(config.unknown),
        byte_fallback_(config.byte_fallback) {
    double lowest = std::numeric_limits<double>::infinity();
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
      const std::string& token = vocabulary_.token(id);
      if (!is_matched(id)) continue;
      if (vocabulary_.find(token) == id) trie_.add(token, id);
      lowest = std::min(lowest, scores_[static_cast<size_t>(id)]);
    }
    unknown_score_ = lowest - kUnknownPenalty;
  }

  void encode(std::string_view piece, std::vector<TokenId>& out) const override {
    if (piece.empty()) return;
    const std::vector<Node> best = best_paths(piece);
    std::vector<std::pair<size_t, size_t>> parts;  // from the end to the beginning
    bool last_unknown = false;
    for (size_t end = piece.size(); end > 0; end = best[end].begin) {
      const bool unknown = best[end].id < 0 || best[end].id == unknown_;
      // A run of unknown characters is one token.
      if (unknown && last_unknown) {
        parts.back().first = best[end].begin;
      } else {
        parts.emplace_back(best[end].begin, end);
      }
      last_unknown = unknown;
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part)
      append(piece.substr(part->first, part->second - part->first), out);
  }
  const VocabularyTable& vocabulary() const override { return vocabulary_; }

 private:
  struct Node {  // the best way to reach a byte position
    double score = 0;
    size_t begin = std::string_view::npos;  // of its last token
    TokenId id = -1;
  };

  std::vector<Node> best_paths(std::string_view piece) const {
    std::vector<Node> best(piece.size() + 1);
    for (size_t at = 0; at < piece.size();) {
      size_t next = at;
      next_char(piece, next);
      bool whole_char = false;
      const auto reach = [&](size_t end, double score, TokenId id) {
        const double total = best[at].score + score;
        if (best[end].begin != std::string_view::npos && total <= best[end].score) return;
        best[end] = {total, at, id};
      };
      trie_.prefixes(piece.substr(at), [&](size_t length, TokenId id) {
        whole_char = whole_char || at + length == next;
        reach(at + length, scores_[static_cast<size_t>(id)], id);
      });
      if (!whole_char) reach(next, unknown_score_, unknown_.value_or(-1));
      at = next;
    }
    return best;
  }

  bool is_matched(TokenId id) const {
    return matched_.empty() || matched_[static_cast<size_t>(id)];
  }

  void append(std::string_view part, std::vector<TokenId>& out) const {
    if (const auto id = vocabulary_.find(part); id && is_matched(*id)) {
      out.push_back(*id);
      return;
    }
    const size_t before = out.size();
    for (size_t i = 0; byte_fallback_ && i < part.size(); ++i) {
      const auto id =
          vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(part[i])));
      if (!id) break;
      out.push_back(*id);
    }
    if (byte_fallback_ && out.size() - before == part.size()) return;
    out.resize(before);
    if (unknown_) out.push_back(*unknown_);
  }

  VocabularyTable vocabulary_;
  std::vector<double> scores_;
  std::vector<bool> matched_;
  std::optional<TokenId> unknown_;
  bool byte_fallback_;
  double unknown_score_ = 0;
  ScoreTrie trie_;
};

// [["token", score], ...]; the id is the position.
Result<UnigramConfig> read_entries(const JsonObject& object) {
  const JsonArray* list = TRY(get_array(object, "vocab"));
  if (list == nullptr) return corrupt("the Unigram model has no 'vocab'");
  UnigramConfig entries;
  size_t bytes = 0;
  for (const Json& item : *list) {
    const bool fits = item.is_array() && item.get_array().size() == 2 &&
                      item.get_array()[0].is_string() && item.get_array()[1].is_number();
    if (!fits) return corrupt(R"(an entry of the Unigram vocabulary must be ["token", score])");
    const auto& token = item.get_array()[0].get_string();
    bytes += token.size();
    if (token.size() > kMaxTokenBytes || bytes > kMaxVocabularyBytes) {
      return unsupported(
          fmt::format("a token of the Unigram vocabulary has more than {} bytes, or "
                      "all of them more than {}",
                      kMaxTokenBytes, kMaxVocabularyBytes));
    }
    TRY(entries.vocabulary.add({token.data(), token.size()},
                               static_cast<int64_t>(entries.scores.size())));
    const double score = item.get_array()[1].to_number<double>();
    if (!std::isfinite(score)) return corrupt("a score of the Unigram vocabulary is not finite");
    entries.scores.push_back(score);
  }
  return entries;
}

}  // namespace

std::unique_ptr<const TokenModel> make_unigram(UnigramConfig config) {
  return std::make_unique<Unigram>(std::move(config));
}

Result<std::unique_ptr<const TokenModel>> parse_unigram(const JsonObject& object) {
  UnigramConfig entries = TRY(read_entries(object));
  if (const auto id = TRY(get_int(object, "unk_id"))) {
    if (*id < 0 || *id >= entries.vocabulary.size())
      return corrupt(fmt::format("unk_id {} is not a token of the vocabulary", *id));
    entries.unknown = static_cast<TokenId>(*id);
  }
  entries.byte_fallback = TRY(bool_or(object, "byte_fallback", false));
  return make_unigram(std::move(entries));
}

}  // namespace exo
