#include "text/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/json_parts.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr size_t kMaxContentBytes = 1024;  // bounds what a search costs per byte of text

bool word_before(std::string_view text, size_t end) {
  if (end == 0) return false;
  size_t start = previous_char_start(text, end);
  return is_word(next_char(text, start));
}

bool word_behind(std::string_view text, size_t begin) {
  return begin < text.size() && is_word(next_char(text, begin));
}

}  // namespace

Result<AddedToken> read_added_token(const Json& value) {
  if (!value.is_object()) return corrupt("an added token must be an object");
  const JsonObject& object = value.get_object();
  AddedToken token;
  token.content = TRY(required_string(object, "content"));
  if (token.content.size() > kMaxContentBytes) {
    return unsupported(fmt::format("an added token of {} bytes is longer than {}",
                                   token.content.size(), kMaxContentBytes));
  }
  const int64_t id = TRY(get_int(object, "id")).value_or(-1);
  token.id = static_cast<TokenId>(std::clamp<int64_t>(id, -1, INT32_MAX));
  token.single_word = TRY(bool_or(object, "single_word", false));
  token.lstrip = TRY(bool_or(object, "lstrip", false));
  token.rstrip = TRY(bool_or(object, "rstrip", false));
  token.special = TRY(bool_or(object, "special", false));
  token.normalized = TRY(bool_or(object, "normalized", !token.special));
  return token;
}

void TokenTrie::add(std::string_view text, size_t value) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto [edge, added] = edges_.try_emplace(
        uint64_t{node} << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(values_.size()));
    if (added) values_.push_back(kNone);
    node = edge->second;
  }
  values_[node] = static_cast<int64_t>(value);
}

bool TokenTrie::longest_at(std::string_view text, size_t begin, Match& match) const {
  bool found = false;
  uint32_t node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (values_[node] == kNone) continue;
    match = {begin, i + 1, static_cast<size_t>(values_[node])};
    found = true;
  }
  return found;
}

bool TokenTrie::find(std::string_view text, size_t from, Match& match) const {
  if (edges_.empty()) return false;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (starts_[static_cast<unsigned char>(text[begin])] && longest_at(text, begin, match))
      return true;
  }
  return false;
}

void AddedTokens::add(AddedToken token, const Normalizer* normalizer) {
  const bool normalize = token.normalized && normalizer != nullptr;
  const std::string pattern = normalize ? normalizer->apply(token.content) : token.content;
  (token.normalized ? normalized_ : raw_).add(pattern, tokens_.size());
  tokens_.push_back(std::move(token));
}

// Whether this match counts; widens it by the white space it takes.
bool AddedTokens::accept(std::string_view text, TokenTrie::Match& match, size_t done,
                         bool parse_special) const {
  const AddedToken& token = tokens_[match.value];
  if (token.special && !parse_special) return false;
  if (token.single_word && (word_before(text, match.begin) || word_behind(text, match.end)))
    return false;
  while (token.lstrip && match.begin > done) {
    const size_t start = previous_char_start(text, match.begin);
    size_t next = start;
    if (!is_white_space(next_char(text, next))) break;
    match.begin = start;
  }
  while (token.rstrip && match.end < text.size()) {
    size_t next = match.end;
    if (!is_white_space(next_char(text, next))) break;
    match.end = next;
  }
  return true;
}

std::vector<TextSection> AddedTokens::split(std::string_view text, bool normalized,
                                            bool parse_special) const {
  const TokenTrie& trie = normalized ? normalized_ : raw_;
  std::vector<TextSection> sections;
  size_t done = 0;
  TokenTrie::Match match;
  for (size_t from = 0; trie.find(text, from, match); from = std::max(match.end, done)) {
    if (!accept(text, match, done, parse_special)) continue;
    if (done < match.begin) sections.push_back({done, match.begin, -1});
    sections.push_back({match.begin, match.end, tokens_[match.value].id});
    done = match.end;
  }
  if (done < text.size()) sections.push_back({done, text.size(), -1});
  return sections;
}

}  // namespace exo
