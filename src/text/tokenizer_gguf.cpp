// The tokenizer inside a GGUF file: the same pipeline as tokenizer.json, put together from the keys
// "tokenizer.ggml.*" (see "Tokenizer" in ggml's docs/gguf.md). What GGUF leaves to the reader, the
// split patterns behind the names of "tokenizer.ggml.pre", is the table in gguf_pre_kinds.cpp.
#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "text/bpe.h"
#include "text/gguf_pre_kinds.h"
#include "text/json_parts.h"
#include "text/sentencepiece.h"

namespace exo {
namespace {

struct GgufTokens {
  VocabularyTable vocabulary;
  std::vector<PieceType> types;  // of each id
  std::vector<double> scores;    // of each id; empty where the file has none
};

Result<const JsonArray*> required_array(const JsonObject& metadata, std::string_view key) {
  const JsonArray* list = TRY(get_array(metadata, key));
  if (list == nullptr) return corrupt(fmt::format("'{}' is missing", key));
  return list;
}

Result<std::vector<double>> read_numbers(const JsonObject& metadata, std::string_view key,
                                         size_t count) {
  std::vector<double> numbers;
  const JsonArray* list = TRY(get_array(metadata, key));
  if (list == nullptr) return numbers;
  if (list->size() != count)
    return corrupt(fmt::format("'{}' has {} entries for {} tokens", key, list->size(), count));
  for (const Json& item : *list) {
    if (!item.is_number()) return corrupt(fmt::format("'{}' must hold numbers", key));
    const double number = item.to_number<double>();
    numbers.push_back(std::isfinite(number) ? number : std::numeric_limits<float>::lowest());
  }
  return numbers;
}

Result<GgufTokens> read_tokens(const JsonObject& metadata) {
  const JsonArray& list = *TRY(required_array(metadata, "tokenizer.ggml.tokens"));
  GgufTokens tokens;
  tokens.scores = TRY(read_numbers(metadata, "tokenizer.ggml.scores", list.size()));
  const auto types = TRY(read_numbers(metadata, "tokenizer.ggml.token_type", list.size()));
  for (size_t id = 0; id < list.size(); ++id) {
    if (!list[id].is_string()) return corrupt("'tokenizer.ggml.tokens' must hold strings");
    const auto& text = list[id].get_string();
    TRY(tokens.vocabulary.add({text.data(), text.size()}, static_cast<int64_t>(id)));
    const bool known = !types.empty() && types[id] >= 1 && types[id] <= 6;
    tokens.types.push_back(known ? static_cast<PieceType>(types[id]) : PieceType::normal);
  }
  return tokens;
}

Json parsed(std::string_view text) { return parse_json(text).value(); }  // our own text only

Json byte_level_split(const GgufPreKind& kind, bool add_prefix_space) {
  JsonArray steps;
  for (const std::string_view pattern : kind.patterns) {
    Json step = parsed(R"({"type": "Split", "behavior": "Isolated", "pattern": {}})");
    step.at("pattern").as_object()["Regex"] =
        boost::json::string_view(pattern.data(), pattern.size());
    steps.push_back(std::move(step));
  }
  Json bytes = parsed(R"({"type": "ByteLevel", "use_regex": false})");
  bytes.as_object()["add_prefix_space"] = add_prefix_space;
  steps.push_back(std::move(bytes));
  Json sequence = parsed(R"({"type": "Sequence"})");
  sequence.as_object()["pretokenizers"] = std::move(steps);
  return sequence;
}

// BOS and EOS where the file asks for them.
Result<PostProcessor> read_post_processor(const JsonObject& metadata, bool add_bos_default,
                                          bool add_eos_default = false) {
  PostProcessor::Template added;
  const bool bos = TRY(bool_or(metadata, "tokenizer.ggml.add_bos_token", add_bos_default));
  const bool eos = TRY(bool_or(metadata, "tokenizer.ggml.add_eos_token", add_eos_default));
  const auto append_id = [&](std::string_view key) -> Result<void> {
    const auto id = TRY(get_int(metadata, key));
    if (id && (*id < 0 || *id >= kMaxTokens))
      return corrupt(fmt::format("'{}' is not a possible token id", key));
    if (id) added.push_back(static_cast<TokenId>(*id));
    return {};
  };
  if (bos) {
    TRY(append_id("tokenizer.ggml.bos_token_id"));
  }
  added.push_back(std::nullopt);
  if (eos) {
    TRY(append_id("tokenizer.ggml.eos_token_id"));
  }
  PostProcessor processor;
  if (added.size() > 1) processor.append(std::move(added));
  return processor;
}

Result<PipelineParts> gpt2_parts(const JsonObject& metadata) {
  const std::string pre = TRY(string_or(metadata, "tokenizer.ggml.pre", "default"));
  const GgufPreKind& kind = *TRY(find_gguf_pre_kind(pre));
  const bool add_space = TRY(bool_or(metadata, "tokenizer.ggml.add_space_prefix", false));
  GgufTokens tokens = TRY(read_tokens(metadata));

  PipelineParts parts;
  if (kind.nfc) parts.normalizer = TRY(parse_normalizer(parsed(R"({"type": "NFC"})")));
  parts.pre_tokenizer = TRY(parse_pre_tokenizer(byte_level_split(kind, add_space)));
  parts.decoder = TRY(parse_decoder(parsed(R"({"type": "ByteLevel"})")));
  parts.post_processor = TRY(read_post_processor(metadata, kind.add_bos));
  parts.added_tokens = added_tokens_of(tokens.vocabulary, tokens.types);
  BpeConfig config;
  config.vocabulary = std::move(tokens.vocabulary);
  config.ignore_merges = kind.ignore_merges;
  const JsonArray& merges = *TRY(required_array(metadata, "tokenizer.ggml.merges"));
  TRY(read_merges(merges, UnknownMerge::skip, config));
  parts.model = std::make_unique<Bpe>(std::move(config));
  return parts;
}

// "llama" is SentencePiece's BPE, "t5" its Unigram.
Result<PipelineParts> sentencepiece_parts_of(const JsonObject& metadata, bool unigram) {
  GgufTokens tokens = TRY(read_tokens(metadata));
  if (tokens.scores.empty()) return corrupt("'tokenizer.ggml.scores' is missing");
  SentencePieces pieces;
  pieces.unigram = unigram;
  pieces.byte_fallback = !unigram;
  pieces.add_dummy_prefix = TRY(bool_or(metadata, "tokenizer.ggml.add_space_prefix", true));
  pieces.remove_extra_whitespaces =
      TRY(bool_or(metadata, "tokenizer.ggml.remove_extra_whitespaces", false));
  const auto unknown =
      TRY(get_int(metadata, "tokenizer.ggml.unknown_token_id")).value_or(unigram ? 2 : 0);
  if (unknown >= 0 && unknown < tokens.vocabulary.size())
    pieces.unknown = static_cast<TokenId>(unknown);
  if (const JsonArray* map = TRY(get_array(metadata, "tokenizer.ggml.precompiled_charsmap")))
    for (const Json& byte : *map) {
      boost::json::error_code error;
      const int64_t value = byte.is_number() ? byte.to_number<int64_t>(error) : 256;
      if (error || value < -128 || value > 255)
        return corrupt("'tokenizer.ggml.precompiled_charsmap' must hold bytes");
      pieces.charsmap += static_cast<char>(value);
    }
  pieces.vocabulary = std::move(tokens.vocabulary);
  pieces.types = std::move(tokens.types);
  pieces.scores = std::move(tokens.scores);
  PipelineParts parts = TRY(sentencepiece_parts(std::move(pieces)));
  parts.post_processor = TRY(read_post_processor(metadata, !unigram, unigram));
  return parts;
}

// WordPiece. Converters write the beginning of a word as "▁word" and what continues it bare;
// older files have the tokens as BERT has them, "word" and "##word".
std::string bert_token(std::string_view token, PieceType type, bool marked) {
  constexpr std::string_view kWordMark = "▁", kContinues = "##";
  const bool bracketed = token.starts_with('[') && token.ends_with(']') && token.size() > 2;
  if (!marked || type == PieceType::control || type == PieceType::unknown || bracketed)
    return std::string(token);
  if (token.starts_with(kWordMark)) return std::string(token.substr(kWordMark.size()));
  return std::string(kContinues) + std::string(token);
}

Result<PostProcessor> read_bert_post_processor(const JsonObject& metadata) {
  PostProcessor::Template around = {TokenId{101}, std::nullopt, TokenId{102}};
  const auto set = [&](std::string_view key, size_t at) -> Result<void> {
    const auto id = TRY(get_int(metadata, key));
    if (id && (*id < 0 || *id >= kMaxTokens))
      return corrupt(fmt::format("'{}' is not a possible token id", key));
    if (id) around[at] = static_cast<TokenId>(*id);
    return {};
  };
  TRY(set("tokenizer.ggml.bos_token_id", 0));
  TRY(set("tokenizer.ggml.cls_token_id", 0));
  TRY(set("tokenizer.ggml.eos_token_id", 2));
  TRY(set("tokenizer.ggml.seperator_token_id", 2));  // as the files spell it
  PostProcessor processor;
  processor.append(std::move(around));
  return processor;
}

Result<PipelineParts> bert_parts(const JsonObject& metadata) {
  const GgufTokens tokens = TRY(read_tokens(metadata));
  int marked = 0;  // a few tokens may begin so in either form
  for (TokenId id = 0; id < tokens.vocabulary.size(); ++id) {
    marked += tokens.vocabulary.token(id).starts_with("▁") ? 1 : 0;
    marked -= tokens.vocabulary.token(id).starts_with("##") ? 1 : 0;
  }
  JsonObject vocabulary;
  PipelineParts parts;
  for (TokenId id = 0; id < tokens.vocabulary.size(); ++id) {
    const PieceType type = tokens.types[static_cast<size_t>(id)];
    const std::string token = bert_token(tokens.vocabulary.token(id), type, marked > 0);
    vocabulary[token] = id;
    const bool special = type == PieceType::control || type == PieceType::unknown;
    if (special) parts.added_tokens.push_back({token, id, false, false, false, false, true});
  }
  Json model = parsed(R"({"type": "WordPiece", "unk_token": "[UNK]",
      "continuing_subword_prefix": "##", "max_input_chars_per_word": 100})");
  model.as_object()["vocab"] = std::move(vocabulary);
  parts.normalizer = TRY(parse_normalizer(parsed(R"({"type": "BertNormalizer",
      "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
      "lowercase": true})")));
  parts.pre_tokenizer = TRY(parse_pre_tokenizer(parsed(R"({"type": "BertPreTokenizer"})")));
  parts.decoder =
      TRY(parse_decoder(parsed(R"({"type": "WordPiece", "prefix": "##", "cleanup": true})")));
  parts.post_processor = TRY(read_bert_post_processor(metadata));
  parts.model = TRY(parse_token_model(model));
  return parts;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_gguf(const JsonObject& metadata) {
  const std::string model = TRY(required_string(metadata, "tokenizer.ggml.model"));
  if (model == "gpt2") return make_pipeline(TRY(gpt2_parts(metadata)));
  if (model == "llama") return make_pipeline(TRY(sentencepiece_parts_of(metadata, false)));
  if (model == "t5") return make_pipeline(TRY(sentencepiece_parts_of(metadata, true)));
  if (model == "bert") return make_pipeline(TRY(bert_parts(metadata)));
  return unsupported(fmt::format(
      "tokenizer.ggml.model '{}' is not supported; gpt2, llama, t5 and bert are", model));
}

}  // namespace exo
