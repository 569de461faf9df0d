// Bpe: byte-pair encoding. A piece starts as characters (or bytes, where a character is not in the
// vocabulary and byte_fallback is on); then the adjacent pair of lowest merge rank is merged, the
// leftmost first among equals, until none is left: O(n log n). Immutable, thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/token_model.h"

namespace exo {

// (left, right) -> merged. Open addressing; filled once, then only read.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = 0;
    TokenId merged = -1;  // -1: these two do not merge
  };
  void reserve(size_t count);
  void set(TokenId left, TokenId right, Merge merge);  // a pair met again keeps its last merge
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;  // a power of two of them, at most half full
  size_t used_ = 0;
};

struct BpeConfig {
  VocabularyTable vocabulary;
  MergeTable merges;
  std::optional<TokenId> unknown;
  std::string continuing_prefix;  // of every character but a piece's first
  std::string end_suffix;         // of a piece's last character
  bool fuse_unknown = false;      // a run of unknown characters is one token
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token stays one
};

class Bpe final : public TokenModel {
 public:
  explicit Bpe(BpeConfig config);
  void encode(std::string_view piece, std::vector<TokenId>& out) const override;
  const VocabularyTable& vocabulary() const override { return config_.vocabulary; }

 private:
  struct Symbol;
  std::vector<Symbol> split(std::string_view piece) const;
  TokenId find_char(std::string_view piece, size_t begin, size_t end) const;
  bool append_bytes(std::string_view character, std::vector<Symbol>& out) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  BpeConfig config_;
  std::vector<TokenId> short_chars_;  // ids of the characters below U+0800, -1 where there is none
  TokenId byte_tokens_[256];          // "<0x00>" .. "<0xFF>", -1 where there is none
};

// A merge of tokens that the vocabulary lacks: Hugging Face's tokenizers refuse it, llama.cpp never
// meets it.
enum class UnknownMerge { refuse, skip };
// Merges in order of rank, each "left right" or ["left", "right"]; config.vocabulary names them.
Result<void> read_merges(const JsonArray& list, UnknownMerge unknown, BpeConfig& config);

Result<std::unique_ptr<const TokenModel>> parse_bpe(const JsonObject& object);

}  // namespace exo
