#include "text/sentencepiece.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/base64.h"
#include "text/bpe.h"
#include "text/unicode.h"
#include "text/unigram.h"

namespace exo {
namespace {

constexpr size_t kMaxMergedBytes = 256;
constexpr std::string_view kSpaceMark = "▁";

Json parsed(std::string_view text) { return parse_json(text).value(); }  // our own text only

// SentencePiece has no list of merges: two neighbours merge where their concatenation is a token,
// the one of the highest score first. Tokens of the same score get the same rank.
void add_splits(const VocabularyTable& table, TokenId merged, uint32_t rank, MergeTable& merges) {
  const std::string_view text = table.token(merged);
  if (text.size() > kMaxMergedBytes) return;
  for (size_t cut = 1; cut < text.size(); ++cut) {
    if (!is_char_start(text[cut])) continue;
    const auto left = table.find(text.substr(0, cut));
    const auto right = left ? table.find(text.substr(cut)) : std::nullopt;
    if (right) merges.set(*left, *right, {rank, merged});
  }
}

MergeTable merges_by_score(const SentencePieces& pieces) {
  std::vector<TokenId> order;
  for (TokenId id = 0; id < pieces.vocabulary.size(); ++id)
    if (pieces.types[static_cast<size_t>(id)] == PieceType::normal) order.push_back(id);
  const auto score = [&](TokenId id) { return pieces.scores[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return score(a) > score(b); });
  MergeTable merges;
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
    add_splits(pieces.vocabulary, order[i], rank, merges);
  }
  return merges;
}

Json replace(std::string_view kind, std::string_view pattern, std::string_view content) {
  Json step = parsed(R"({"type": "Replace", "pattern": {}})");
  step.at("pattern").as_object()[kind] = pattern;
  step.as_object()["content"] = content;
  return step;
}

// In SentencePiece's order: the character map, superfluous spaces, the space before the text, and
// spaces made visible.
Json normalizer_json(const SentencePieces& pieces) {
  JsonArray steps;
  if (!pieces.charsmap.empty()) {
    Json map = parsed(R"({"type": "Precompiled"})");
    map.as_object()["precompiled_charsmap"] = to_base64(pieces.charsmap);
    steps.push_back(std::move(map));
  }
  if (pieces.remove_extra_whitespaces) {
    steps.push_back(replace("Regex", " {2,}", " "));
    steps.push_back(replace("Regex", "^ | $", ""));
  }
  const std::string_view space = pieces.escape_whitespaces ? kSpaceMark : " ";
  if (pieces.add_dummy_prefix && !pieces.prefix_once) {
    Json prefix = parsed(R"({"type": "Prepend"})");
    prefix.as_object()["prepend"] = space;
    steps.push_back(std::move(prefix));
  }
  if (pieces.escape_whitespaces) steps.push_back(replace("String", " ", kSpaceMark));
  Json sequence = parsed(R"({"type": "Sequence"})");
  sequence.as_object()["normalizers"] = std::move(steps);
  return sequence;
}

Json decoder_json(const SentencePieces& pieces) {
  JsonArray steps;
  steps.push_back(replace("String", kSpaceMark, " "));
  if (pieces.byte_fallback) steps.push_back(parsed(R"({"type": "ByteFallback"})"));
  steps.push_back(parsed(R"({"type": "Fuse"})"));
  if (pieces.add_dummy_prefix)
    steps.push_back(parsed(R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})"));
  Json sequence = parsed(R"({"type": "Sequence"})");
  sequence.as_object()["decoders"] = std::move(steps);
  return sequence;
}

constexpr std::string_view kPrefixOnce =
    R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})";

}  // namespace

std::vector<AddedToken> added_tokens_of(const VocabularyTable& vocabulary,
                                        const std::vector<PieceType>& types) {
  std::vector<AddedToken> added;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const PieceType type = types[static_cast<size_t>(id)];
    const bool special = type == PieceType::unknown || type == PieceType::control;
    if (!special && type != PieceType::user_defined) continue;
    AddedToken token;
    token.content = vocabulary.token(id);
    token.id = id;
    token.special = special;
    added.push_back(std::move(token));
  }
  return added;
}

Result<PipelineParts> sentencepiece_parts(SentencePieces pieces) {
  PipelineParts parts;
  parts.normalizer = TRY(parse_normalizer(normalizer_json(pieces)));
  if (pieces.add_dummy_prefix && pieces.prefix_once)
    parts.pre_tokenizer = TRY(parse_pre_tokenizer(parsed(kPrefixOnce)));
  parts.decoder = TRY(parse_decoder(decoder_json(pieces)));
  parts.added_tokens = added_tokens_of(pieces.vocabulary, pieces.types);
  if (pieces.unigram) {
    UnigramConfig config;
    for (const PieceType type : pieces.types)
      config.matched.push_back(type == PieceType::normal || type == PieceType::user_defined);
    config.vocabulary = std::move(pieces.vocabulary);
    config.scores = std::move(pieces.scores);
    config.unknown = pieces.unknown;
    config.byte_fallback = pieces.byte_fallback;
    parts.model = make_unigram(std::move(config));
    return parts;
  }
  BpeConfig config;
  config.merges = merges_by_score(pieces);
  config.unknown = pieces.unknown;
  config.vocabulary = std::move(pieces.vocabulary);
  config.fuse_unknown = true;
  config.byte_fallback = pieces.byte_fallback;
  parts.model = std::make_unique<Bpe>(std::move(config));
  return parts;
}

}  // namespace exo
