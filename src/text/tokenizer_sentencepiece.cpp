// Reads SentencePiece's tokenizer.model: a protocol buffer (sentencepiece_model.proto), of which
// the pieces and a few settings matter here. Field numbers are those of that file.
#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <string>
#include <unordered_map>

#include "text/json_parts.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

constexpr size_t kMaxPieceBytes = 512;
constexpr size_t kMaxAllPieceBytes = 16 * 1024 * 1024;

// One message of the wire format, field by field.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      // of a varint, or the bits of a fixed32 or fixed64
    std::string_view bytes;  // of a length-delimited field
  };
  bool at_end() const { return bytes_.empty(); }

  Result<Field> next() {
    Field field;
    const uint64_t tag = TRY(varint());
    field.number = tag >> 3;
    switch (tag & 7) {
      case 0:
        field.value = TRY(varint());
        return field;
      case 1:
      case 5: {
        const std::string_view raw = TRY(take((tag & 7) == 1 ? 8 : 4));
        for (size_t i = raw.size(); i > 0; --i)
          field.value = field.value << 8 | static_cast<unsigned char>(raw[i - 1]);
        return field;
      }
      case 2:
        field.bytes = TRY(take(TRY(varint())));
        return field;
      default:
        return corrupt("tokenizer.model is not a SentencePiece model");
    }
  }

 private:
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(TRY(take(1)).front());
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return corrupt("tokenizer.model has a number of more than 64 bits");
  }
  Result<std::string_view> take(uint64_t count) {
    if (count > bytes_.size()) return corrupt("tokenizer.model ends in the middle of a field");
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  std::string_view bytes_;
};

struct Model {
  SentencePieces pieces;
  size_t piece_bytes = 0;
  int64_t unknown = 0, bos = 1, eos = 2;  // -1: there is none
};

Result<void> read_piece(std::string_view bytes, Model& model) {
  std::string_view piece;
  float score = 0;
  uint64_t type = 1;
  for (WireReader reader(bytes); !reader.at_end();) {
    const auto field = TRY(reader.next());
    if (field.number == 1) piece = field.bytes;
    if (field.number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) type = field.value;
  }
  model.piece_bytes += piece.size();
  if (piece.size() > kMaxPieceBytes || model.piece_bytes > kMaxAllPieceBytes)
    return unsupported("the pieces of tokenizer.model are longer than any known ones");
  if (!std::isfinite(score)) return corrupt("a score in tokenizer.model is not finite");
  if (type < 1 || type > 6) return corrupt("a piece of tokenizer.model has an unknown type");
  SentencePieces& pieces = model.pieces;
  TRY(pieces.vocabulary.add(piece, static_cast<int64_t>(pieces.types.size())));
  pieces.types.push_back(static_cast<PieceType>(type));
  pieces.scores.push_back(score);
  return {};
}

Result<void> read_trainer(std::string_view bytes, Model& model) {
  for (WireReader reader(bytes); !reader.at_end();) {
    const auto field = TRY(reader.next());
    if (field.number == 3) {
      if (field.value != 1 && field.value != 2)
        return unsupported("tokenizer.model is neither of the type Unigram nor BPE");
      model.pieces.unigram = field.value == 1;
    }
    if (field.number == 24 && field.value != 0)
      return unsupported("tokenizer.model treats white space as a suffix");
    if (field.number == 35) model.pieces.byte_fallback = field.value != 0;
    if (field.number == 40) model.unknown = static_cast<int32_t>(field.value);
    if (field.number == 41) model.bos = static_cast<int32_t>(field.value);
    if (field.number == 42) model.eos = static_cast<int32_t>(field.value);
  }
  return {};
}

Result<void> read_normalizer_spec(std::string_view bytes, SentencePieces& pieces) {
  for (WireReader reader(bytes); !reader.at_end();) {
    const auto field = TRY(reader.next());
    if (field.number == 2) pieces.charsmap = field.bytes;
    if (field.number == 3) pieces.add_dummy_prefix = field.value != 0;
    if (field.number == 4) pieces.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) pieces.escape_whitespaces = field.value != 0;
  }
  return {};
}

Result<Model> read_model(std::string_view bytes) {
  Model model;
  model.pieces.unigram = true;  // what the format means by saying nothing
  model.pieces.byte_fallback = false;
  model.pieces.remove_extra_whitespaces = true;
  for (WireReader reader(bytes); !reader.at_end();) {
    const auto field = TRY(reader.next());
    if (field.number == 1) TRY(read_piece(field.bytes, model));
    if (field.number == 2) TRY(read_trainer(field.bytes, model));
    if (field.number == 3) TRY(read_normalizer_spec(field.bytes, model.pieces));
  }
  if (model.pieces.types.empty()) return corrupt("tokenizer.model has no pieces");
  const auto known = [&](int64_t id) { return id >= 0 && id < model.pieces.vocabulary.size(); };
  if (known(model.unknown)) model.pieces.unknown = static_cast<TokenId>(model.unknown);
  return model;
}

// What is said later about a token counts.
class AddedList {
 public:
  explicit AddedList(std::vector<AddedToken> tokens) {
    for (AddedToken& token : tokens) set(std::move(token));
  }
  void set(AddedToken token) {
    const auto [known, is_new] = index_.try_emplace(token.content, tokens_.size());
    if (is_new)
      tokens_.push_back(std::move(token));
    else
      tokens_[known->second] = std::move(token);
  }
  std::vector<AddedToken> take() { return std::move(tokens_); }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> index_;
};

// Tokens that the model's makers added beside the pieces: {"32000": {"content": ...}}.
Result<void> read_config_tokens(const JsonObject& config, AddedList& added) {
  const JsonObject* list = TRY(get_object(config, "added_tokens_decoder"));
  if (list == nullptr) return {};
  for (const auto& [id, value] : *list) {
    if (!value.is_object()) return corrupt("'added_tokens_decoder' must hold objects");
    JsonObject entry = value.get_object();
    const auto number = parse_json({id.data(), id.size()});
    if (!number.ok() || !number->is_int64())
      return corrupt("the keys of 'added_tokens_decoder' must be token ids");
    entry["id"] = *number;
    added.set(TRY(read_added_token(std::move(entry))));
  }
  return {};
}

// added_tokens.json: {"<extra>": 32000}.
Result<void> read_more_tokens(const JsonObject& more, AddedList& added) {
  for (const auto& [content, id] : more) {
    if (!id.is_int64()) return corrupt("added_tokens.json must map tokens to ids");
    if (id.get_int64() < 0 || id.get_int64() >= kMaxTokens)
      return corrupt("added_tokens.json holds an impossible token id");
    AddedToken token;
    token.content = std::string(std::string_view(content.data(), content.size()));
    token.id = static_cast<TokenId>(id.get_int64());
    added.set(std::move(token));
  }
  return {};
}

Result<PostProcessor> post_processor_of(const Model& model, const JsonObject& config) {
  PostProcessor::Template around;
  if (TRY(bool_or(config, "add_bos_token", true)) && model.bos >= 0)
    around.push_back(static_cast<TokenId>(model.bos));
  around.push_back(std::nullopt);
  if (TRY(bool_or(config, "add_eos_token", false)) && model.eos >= 0)
    around.push_back(static_cast<TokenId>(model.eos));
  PostProcessor processor;
  if (around.size() > 1) processor.append(std::move(around));
  return processor;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> tokenizer_from_sentencepiece(
    std::string_view model_bytes, const JsonObject& config, const JsonObject& added_tokens) {
  Model model = TRY(read_model(model_bytes));
  // What transformers' "legacy" changes: is there a space before text behind a special token?
  model.pieces.prefix_once = !TRY(bool_or(config, "legacy", true));
  auto post_processor = TRY(post_processor_of(model, config));
  PipelineParts parts = TRY(sentencepiece_parts(std::move(model.pieces)));
  parts.post_processor = std::move(post_processor);
  AddedList added(std::move(parts.added_tokens));
  TRY(read_more_tokens(added_tokens, added));
  TRY(read_config_tokens(config, added));
  parts.added_tokens = added.take();
  return make_pipeline(std::move(parts));
}

}  // namespace exo
