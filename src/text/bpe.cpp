#include "text/bpe.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/json_parts.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr size_t kMaxMerges = 8'000'000;
constexpr char32_t kShortChars = 0x800;

uint64_t pair_key(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// A merge that was possible when it was queued; smallest (rank, position) first.
struct Candidate {
  uint64_t order;  // rank << 32 | position
  TokenId merged;
  bool operator<(const Candidate& other) const { return order > other.order; }  // for a min-heap
};

}  // namespace

size_t MergeTable::slot_of(uint64_t key) const {
  uint64_t mixed = (key ^ key >> 29) * 0xBF58476D1CE4E5B9ull;
  mixed ^= mixed >> 32;
  const size_t mask = slots_.size() - 1;
  size_t slot = mixed & mask;
  while (slots_[slot].key != key && slots_[slot].key != kEmpty) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::reserve(size_t count) {
  size_t size = 16;
  while (size < count * 2) size *= 2;
  if (size <= slots_.size()) return;
  std::vector<Slot> old(size);
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.key != kEmpty) slots_[slot_of(slot.key)] = slot;
}

void MergeTable::set(TokenId left, TokenId right, Merge merge) {
  reserve(used_ + 1);
  Slot& slot = slots_[slot_of(pair_key(left, right))];
  if (slot.key == kEmpty) ++used_;
  slot = {pair_key(left, right), merge};
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const {
  if (slots_.empty()) return {};
  return slots_[slot_of(pair_key(left, right))].merge;
}

// A node of the list of what the piece consists of so far.
struct Bpe::Symbol {
  TokenId id = -1;  // -1: merged into its left neighbour
  int32_t previous = -1;
  int32_t next = -1;
};

Bpe::Bpe(BpeConfig config) : config_(std::move(config)), short_chars_(kShortChars, -1) {
  for (char32_t c = 0; c < kShortChars; ++c) {
    std::string text;
    append_char(text, c);
    short_chars_[c] = config_.vocabulary.find(text).value_or(-1);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = config_.vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

TokenId Bpe::find_char(std::string_view piece, size_t begin, size_t end) const {
  const bool prefixed = begin > 0 && !config_.continuing_prefix.empty();
  const bool suffixed = end == piece.size() && !config_.end_suffix.empty();
  const std::string_view character = piece.substr(begin, end - begin);
  if (!prefixed && !suffixed) {
    if (end - begin <= 2) return short_chars_[next_char(piece, begin)];
    return config_.vocabulary.find(character).value_or(-1);
  }
  std::string text = prefixed ? config_.continuing_prefix : "";
  text += character;
  if (suffixed) text += config_.end_suffix;
  return config_.vocabulary.find(text).value_or(-1);
}

bool Bpe::append_bytes(std::string_view character, std::vector<Symbol>& out) const {
  const auto id_of = [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)]; };
  for (const char c : character)
    if (id_of(c) < 0) return false;
  for (const char c : character) out.push_back({id_of(c)});
  return true;
}

std::vector<Bpe::Symbol> Bpe::split(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  // An unknown token waits for more unknown characters to join it. As in the library, byte tokens
  // overtake it.
  bool unknown_waits = false;
  for (size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
    next_char(piece, end);
    const TokenId id = find_char(piece, begin, end);
    if (id >= 0) {
      if (unknown_waits) symbols.push_back({*config_.unknown});
      unknown_waits = false;
      symbols.push_back({id});
    } else if (config_.byte_fallback && append_bytes(piece.substr(begin, end - begin), symbols)) {
      continue;
    } else if (config_.unknown) {
      if (unknown_waits && !config_.fuse_unknown) symbols.push_back({*config_.unknown});
      unknown_waits = true;
    }
  }
  if (unknown_waits) symbols.push_back({*config_.unknown});
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
  return symbols;
}

void Bpe::merge_all(std::vector<Symbol>& symbols) const {
  std::vector<Candidate> heap;
  const auto candidate = [&](int32_t left, int32_t right) {
    const auto merge = config_.merges.find(symbols[left].id, symbols[right].id);
    if (merge.merged < 0) return false;
    heap.push_back({uint64_t{merge.rank} << 32 | static_cast<uint32_t>(left), merge.merged});
    return true;
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    candidate(static_cast<int32_t>(i), static_cast<int32_t>(i) + 1);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    const auto at = static_cast<int32_t>(top.order & 0xFFFFFFFF);
    Symbol& left = symbols[at];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Either may have been merged with another since.
    if (config_.merges.find(left.id, right.id).merged != top.merged) continue;
    left.id = top.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = at;
    if (left.previous >= 0 && candidate(left.previous, at))
      std::push_heap(heap.begin(), heap.end());
    if (left.next >= 0 && candidate(at, left.next)) std::push_heap(heap.begin(), heap.end());
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (config_.ignore_merges) {
    if (const auto id = config_.vocabulary.find(piece)) {
      out.push_back(*id);
      return;
    }
  }
  std::vector<Symbol> symbols = split(piece);
  merge_all(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.id >= 0) out.push_back(symbol.id);
}

namespace {

struct MergePair {
  std::string_view left, right;
};

Result<MergePair> read_merge(const Json& value) {
  const auto view = [](const boost::json::string& text) {
    return std::string_view(text.data(), text.size());
  };
  if (value.is_string()) {
    const std::string_view text = view(value.get_string());
    const size_t space = text.find(' ');
    if (space != std::string_view::npos)
      return MergePair{text.substr(0, space), text.substr(space + 1)};
  } else if (value.is_array() && value.get_array().size() == 2) {
    const JsonArray& pair = value.get_array();
    if (pair[0].is_string() && pair[1].is_string())
      return MergePair{view(pair[0].get_string()), view(pair[1].get_string())};
  }
  return corrupt(R"(a merge must be "left right" or ["left", "right"])");
}

}  // namespace

Result<void> read_merges(const JsonArray& list, UnknownMerge unknown, BpeConfig& config) {
  if (list.size() > kMaxMerges)
    return corrupt(fmt::format("{} merges are more than {}", list.size(), kMaxMerges));
  config.merges.reserve(list.size());
  uint32_t rank = 0;
  for (const Json& item : list) {
    if (item.is_string() && item.get_string().starts_with("#version")) continue;
    const MergePair pair = TRY(read_merge(item));
    const auto left = config.vocabulary.find(pair.left);
    const auto right = config.vocabulary.find(pair.right);
    std::string merged(pair.left);
    // The prefix of a continuing character does not stay inside the merged token.
    merged += pair.right.substr(std::min(config.continuing_prefix.size(), pair.right.size()));
    const auto id = config.vocabulary.find(merged);
    if (!left || !right || !id) {
      if (unknown == UnknownMerge::skip) continue;
      return corrupt(fmt::format("merge '{} {}' names a token that is not in the vocabulary",
                                 pair.left, pair.right));
    }
    config.merges.set(*left, *right, {rank++, *id});
  }
  return {};
}

Result<std::unique_ptr<const TokenModel>> parse_bpe(const JsonObject& object) {
  BpeConfig config;
  config.vocabulary = TRY(read_vocabulary_object(object));
  config.continuing_prefix = TRY(string_or(object, "continuing_subword_prefix", ""));
  config.end_suffix = TRY(string_or(object, "end_of_word_suffix", ""));
  config.fuse_unknown = TRY(bool_or(object, "fuse_unk", false));
  config.byte_fallback = TRY(bool_or(object, "byte_fallback", false));
  config.ignore_merges = TRY(bool_or(object, "ignore_merges", false));
  if (const auto unknown = TRY(get_string(object, "unk_token"))) {
    config.unknown = config.vocabulary.find(*unknown);  // not there: unknown characters vanish
  }
  const JsonArray* merges = TRY(get_array(object, "merges"));
  if (merges == nullptr) return corrupt("the BPE model has no 'merges'");
  TRY(read_merges(*merges, UnknownMerge::refuse, config));
  return std::unique_ptr<const TokenModel>(std::make_unique<Bpe>(std::move(config)));
}

}  // namespace exo
