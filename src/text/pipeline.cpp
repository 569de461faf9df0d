#include "text/pipeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "text/byte_alphabet.h"
#include "text/unicode.h"

namespace exo {
namespace {

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts) : parts_(std::move(parts)) {}

  Result<void> init() {
    TokenId next_id = parts_.model->vocabulary().size();
    for (AddedToken& token : parts_.added_tokens) {
      if (token.content.empty()) continue;
      if (const auto known = parts_.model->vocabulary().find(token.content)) {
        token.id = *known;
      } else if (token.id < 0) {
        token.id = next_id;
      }
      if (token.id >= kMaxTokens)
        return corrupt(fmt::format("added token '{}' has the id {}, above {}", token.content,
                                   token.id, kMaxTokens - 1));
      next_id = std::max(next_id, token.id + 1);
      added_.add(std::move(token), parts_.normalizer.get());
    }
    parts_.added_tokens.clear();
    fill_vocabulary(next_id);
    return {};
  }

  std::vector<TokenId> encode(std::string_view text, bool parse_special) const override {
    std::string repaired;
    if (!valid_utf8(text)) text = repaired = repaired_utf8(text);
    std::vector<TokenId> ids;
    for (const TextSection& section : added_.split(text, false, parse_special)) {
      if (section.id >= 0) {
        ids.push_back(section.id);
      } else {
        encode_raw(text, section, parse_special, ids);
      }
    }
    return ids;
  }

  std::vector<TokenId> encode_with_special(std::string_view text) const override {
    return parts_.post_processor.apply(encode(text, true));
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    const auto stream = decode_stream(skip_special);
    std::string text;
    for (const TokenId id : ids) text += stream->push(id);
    return text + stream->finish();
  }

  std::unique_ptr<DecodeStream> decode_stream(bool skip_special) const override {
    return std::make_unique<Stream>(*this, skip_special);
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int size() const override { return static_cast<int>(tokens_.size()); }

 private:
  class Stream final : public DecodeStream {
   public:
    Stream(const Pipeline& owner, bool skip_special)
        : owner_(owner), skip_special_(skip_special), chain_(*owner.parts_.decoder) {}
    std::string push(TokenId id) override {
      const auto index = static_cast<size_t>(id);
      if (id < 0 || index >= owner_.tokens_.size() || owner_.tokens_[index] == nullptr) return "";
      if (skip_special_ && owner_.vocabulary_.special[index]) return "";
      return chain_.push(*owner_.tokens_[index]);
    }
    std::string finish() override { return chain_.finish(); }

   private:
    const Pipeline& owner_;
    bool skip_special_;
    DecodeChain chain_;
  };

  void fill_vocabulary(TokenId size) {
    const VocabularyTable& table = parts_.model->vocabulary();
    tokens_.assign(static_cast<size_t>(size), nullptr);
    vocabulary_.special.assign(tokens_.size(), false);
    vocabulary_.bytes.resize(tokens_.size());
    for (TokenId id = 0; id < table.size(); ++id)
      if (table.has(id)) tokens_[static_cast<size_t>(id)] = &table.token(id);
    for (const AddedToken& token : added_.tokens()) {
      tokens_[static_cast<size_t>(token.id)] = decodable(token.content);
      if (token.special) vocabulary_.special[static_cast<size_t>(token.id)] = true;
    }
    for (size_t id = 0; id < tokens_.size(); ++id)
      if (tokens_[id] != nullptr) vocabulary_.bytes[id] = parts_.decoder->token_bytes(*tokens_[id]);
  }

  // An added token is plain text even where the model's tokens are written in the byte alphabet;
  // one that would be read as broken UTF-8 ("ø" is the byte F8 there) is respelt.
  const std::string* decodable(const std::string& content) {
    if (valid_utf8(parts_.decoder->token_bytes(content))) return &content;
    std::string respelt = to_byte_alphabet(content);
    if (parts_.decoder->token_bytes(respelt) != content) return &content;
    return &respelt_.emplace_back(std::move(respelt));
  }

  // A section without raw added tokens: normalize it, then look for the normalized ones.
  void encode_raw(std::string_view text, TextSection section, bool parse_special,
                  std::vector<TokenId>& ids) const {
    std::string normalized(text.substr(section.begin, section.end - section.begin));
    if (parts_.normalizer) normalized = parts_.normalizer->apply(std::move(normalized));
    for (const TextSection& part : added_.split(normalized, true, parse_special)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      PieceList list;
      const size_t length = part.end - part.begin;
      list.at_start = section.begin == 0 && part.begin == 0;
      list.text = length == normalized.size() ? std::move(normalized)
                                              : normalized.substr(part.begin, length);
      list.pieces = {{0, list.text.size()}};
      encode_pieces(std::move(list), ids);
    }
  }

  void encode_pieces(PieceList list, std::vector<TokenId>& ids) const {
    if (parts_.pre_tokenizer) parts_.pre_tokenizer->apply(list);
    const std::string_view text = list.text;
    for (const TextRange& piece : list.pieces)
      if (piece.begin < piece.end)
        parts_.model->encode(text.substr(piece.begin, piece.end - piece.begin), ids);
  }

  PipelineParts parts_;
  AddedTokens added_;
  std::vector<const std::string*> tokens_;  // of each id, null where it is not used
  std::deque<std::string> respelt_;
  Vocabulary vocabulary_;
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> make_pipeline(PipelineParts parts) {
  auto pipeline = std::make_shared<Pipeline>(std::move(parts));
  TRY(pipeline->init());
  return std::shared_ptr<const Tokenizer>(std::move(pipeline));
}

}  // namespace exo
