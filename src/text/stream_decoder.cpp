#include "text/stream_decoder.h"

#include <utility>

#include "text/unicode.h"

namespace exo {
namespace {

class VocabularyStream final : public DecodeStream {
 public:
  VocabularyStream(const Vocabulary& vocabulary, bool skip_special)
      : vocabulary_(vocabulary), skip_special_(skip_special) {}

  std::string push(TokenId id) override {
    const auto index = static_cast<size_t>(id);
    std::string out;
    if (id < 0 || index >= vocabulary_.bytes.size()) return out;
    const bool special = index < vocabulary_.special.size() && vocabulary_.special[index];
    if (!special || !skip_special_) repair_.push(vocabulary_.bytes[index], out);
    return out;
  }
  std::string finish() override {
    std::string out;
    repair_.finish(out);
    return out;
  }

 private:
  const Vocabulary& vocabulary_;
  bool skip_special_;
  Utf8Repair repair_;
};

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::decode_stream(bool skip_special) const {
  return std::make_unique<VocabularyStream>(vocabulary(), skip_special);
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special,
                             std::vector<bool> shown)
    : tokenizer_(std::move(tokenizer)),
      stream_(tokenizer_->decode_stream(false)),
      skip_special_(skip_special),
      shown_(std::move(shown)) {}

std::string StreamDecoder::push(TokenId id) {
  const std::vector<bool>& special = tokenizer_->vocabulary().special;
  const auto index = static_cast<size_t>(id);
  const bool hidden = skip_special_ && id >= 0 && index < special.size() && special[index] &&
                      !(index < shown_.size() && shown_[index]);
  return hidden ? std::string() : stream_->push(id);
}

std::string StreamDecoder::finish() { return stream_->finish(); }

}  // namespace exo
