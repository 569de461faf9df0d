// The tokenizer inside a GGUF file: the same pipeline as tokenizer.json, put together from the keys
// "tokenizer.ggml.*" (see "Tokenizer" in ggml's docs/gguf.md). What GGUF leaves to the reader, the
// split patterns behind the names of "tokenizer.ggml.pre", is a table here.
#include "text/tokenizer_gguf.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "text/bpe.h"
#include "text/json_parts.h"
#include "text/pipeline.h"
#include "text/unicode.h"

namespace exo {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

const std::vector<GgufPreKind>& gguf_pre_kinds() {
  static const std::vector<GgufPreKind> kinds = {
      {" default ", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {" gpt-2 phi-2 mpt olmo jais trillion granite-docling ", {kGpt2}},
      {" starcoder refact command-r smollm codeshell exaone minerva-7b ", {R"(\p{N})", kGpt2}},
      {" llama-bpe llama3 llama-v3 falcon3 pixtral midm-2.0 lfm2 ", {kLlama3}, true, true},
      {" dbrx smaug-bpe ", {kLlama3}},
      {" qwen2 stablelm2 deepseek-r1-qwen hunyuan megrez ", {kQwen2}, false, false, true},
      {" deepseek-v3 ", {R"(\p{N}{1,3})", "[一-龥\u3040-ゟ゠-ヿ]+", kDeepseekV3}},
      {" gpt-4o llama4 ", {kO200k}},
      {" tekken ", {kTekken}, true, true},
  };
  return kinds;
}

namespace {

Result<const GgufPreKind*> find_pre_kind(const std::string& name) {
  for (const GgufPreKind& kind : gguf_pre_kinds())
    if (kind.names.find(" " + name + " ") != std::string_view::npos) return &kind;
  return unsupported(fmt::format(
      "tokenizer.ggml.pre '{}' is not known; use the model's Hugging Face checkpoint", name));
}

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4;  // of token_type

struct GgufTokens {
  VocabularyTable vocabulary;
  std::vector<int> types;      // of each id
  std::vector<double> scores;  // of each id; empty where the file has none
  std::vector<AddedToken> added;
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
    numbers.push_back(std::isnan(number) ? -std::numeric_limits<double>::infinity() : number);
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
    tokens.types.push_back(known ? static_cast<int>(types[id]) : kNormal);
  }
  return tokens;
}

// Control and user-defined tokens are found in the text before the model sees it.
void fill_added_tokens(GgufTokens& tokens) {
  for (TokenId id = 0; id < tokens.vocabulary.size(); ++id) {
    const int type = tokens.types[static_cast<size_t>(id)];
    if (type != kUnknown && type != kControl && type != kUserDefined) continue;
    AddedToken token;
    token.content = tokens.vocabulary.token(id);
    token.id = id;
    token.special = type != kUserDefined;
    tokens.added.push_back(std::move(token));
  }
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
Result<PostProcessor> read_post_processor(const JsonObject& metadata, bool add_bos_default) {
  PostProcessor::Template added;
  const bool bos = TRY(bool_or(metadata, "tokenizer.ggml.add_bos_token", add_bos_default));
  const bool eos = TRY(bool_or(metadata, "tokenizer.ggml.add_eos_token", false));
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
  const GgufPreKind& kind = *TRY(find_pre_kind(pre));
  const bool add_space = TRY(bool_or(metadata, "tokenizer.ggml.add_space_prefix", false));
  GgufTokens tokens = TRY(read_tokens(metadata));
  fill_added_tokens(tokens);

  PipelineParts parts;
  if (kind.nfc) parts.normalizer = TRY(parse_normalizer(parsed(R"({"type": "NFC"})")));
  parts.pre_tokenizer = TRY(parse_pre_tokenizer(byte_level_split(kind, add_space)));
  parts.decoder = TRY(parse_decoder(parsed(R"({"type": "ByteLevel"})")));
  parts.post_processor = TRY(read_post_processor(metadata, kind.add_bos));
  parts.added_tokens = std::move(tokens.added);
  BpeConfig config;
  config.vocabulary = std::move(tokens.vocabulary);
  config.ignore_merges = kind.ignore_merges;
  const JsonArray& merges = *TRY(required_array(metadata, "tokenizer.ggml.merges"));
  TRY(read_merges(merges, UnknownMerge::skip, config));
  parts.model = std::make_unique<Bpe>(std::move(config));
  return parts;
}

// SentencePiece has no list of merges: two neighbours merge where their concatenation is a token,
// the one of the highest score first. Tokens of the same score get the same rank.
constexpr size_t kMaxMergedBytes = 256;

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

MergeTable merges_by_score(const GgufTokens& tokens) {
  std::vector<TokenId> order;
  for (TokenId id = 0; id < tokens.vocabulary.size(); ++id)
    if (tokens.types[static_cast<size_t>(id)] == kNormal) order.push_back(id);
  const auto score = [&](TokenId id) { return tokens.scores[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return score(a) > score(b); });
  MergeTable merges;
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
    add_splits(tokens.vocabulary, order[i], rank, merges);
  }
  return merges;
}

Result<PipelineParts> llama_parts(const JsonObject& metadata) {
  const bool add_space = TRY(bool_or(metadata, "tokenizer.ggml.add_space_prefix", true));
  GgufTokens tokens = TRY(read_tokens(metadata));
  if (tokens.scores.empty()) return corrupt("'tokenizer.ggml.scores' is missing");
  fill_added_tokens(tokens);

  constexpr std::string_view kReplace =
      R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})";
  constexpr std::string_view kPrepend = R"({"type": "Prepend", "prepend": "▁"},)";
  constexpr std::string_view kStrip = R"(, {"type": "Strip", "content": " ", "start": 1})";
  PipelineParts parts;
  parts.normalizer = TRY(parse_normalizer(parsed(fmt::format(
      R"({{"type": "Sequence", "normalizers": [{} {}]}})", add_space ? kPrepend : "", kReplace))));
  parts.decoder = TRY(parse_decoder(parsed(fmt::format(
      R"({{"type": "Sequence", "decoders": [
           {{"type": "Replace", "pattern": {{"String": "▁"}}, "content": " "}},
           {{"type": "ByteFallback"}}, {{"type": "Fuse"}} {}]}})",
      add_space ? kStrip : ""))));
  parts.post_processor = TRY(read_post_processor(metadata, true));
  parts.added_tokens = std::move(tokens.added);
  BpeConfig config;
  config.merges = merges_by_score(tokens);
  const auto unknown = TRY(get_int(metadata, "tokenizer.ggml.unknown_token_id")).value_or(0);
  if (unknown >= 0 && unknown < tokens.vocabulary.size())
    config.unknown = static_cast<TokenId>(unknown);
  config.vocabulary = std::move(tokens.vocabulary);
  config.fuse_unknown = config.byte_fallback = true;
  parts.model = std::make_unique<Bpe>(std::move(config));
  return parts;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_gguf(const JsonObject& metadata) {
  const std::string model = TRY(required_string(metadata, "tokenizer.ggml.model"));
  if (model == "gpt2") return make_pipeline(TRY(gpt2_parts(metadata)));
  if (model == "llama") return make_pipeline(TRY(llama_parts(metadata)));
  return unsupported(
      fmt::format("tokenizer.ggml.model '{}' is not supported; 'gpt2' and 'llama' are", model));
}

}  // namespace exo
