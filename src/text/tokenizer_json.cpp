// Reads Hugging Face's tokenizer.json. Each part is parsed beside its implementation; this file
// puts them together.
#include <fmt/core.h>

#include "base/file.h"
#include "text/json_parts.h"
#include "text/pipeline.h"

namespace exo {
namespace {

constexpr size_t kMaxFileBytes = 64 * 1024 * 1024;
constexpr size_t kMaxJsonDepth = 32;
constexpr size_t kMaxAddedTokens = 100'000;
constexpr size_t kMaxAddedBytes = 4 * 1024 * 1024;

const Json& part_of(const JsonObject& object, std::string_view key) {
  static const Json kNull;
  const Json* found = find_value(object, key);
  return found == nullptr ? kNull : *found;
}

// The same value, or its error with the key in front.
template <class T>
Result<T> in_part(Result<T> result, std::string_view key) {
  if (!result.ok()) return result.error().in(key);
  return result;
}

Result<std::vector<AddedToken>> read_added_tokens(const JsonObject& object) {
  std::vector<AddedToken> tokens;
  const JsonArray* list = TRY(get_array(object, "added_tokens"));
  if (list == nullptr) return tokens;
  if (list->size() > kMaxAddedTokens)
    return unsupported(
        fmt::format("{} added tokens are more than {}", list->size(), kMaxAddedTokens));
  size_t bytes = 0;
  for (const Json& item : *list) {
    tokens.push_back(TRY(read_added_token(item)));
    bytes += tokens.back().content.size();
    if (bytes > kMaxAddedBytes)
      return unsupported(fmt::format("the added tokens have more than {} bytes", kMaxAddedBytes));
  }
  return tokens;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> parse_tokenizer_json(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return unsupported(
        fmt::format("tokenizer.json has {} bytes, more than {}", text.size(), kMaxFileBytes));
  }
  const Json document = TRY(parse_json(text, kMaxJsonDepth));
  if (!document.is_object()) return corrupt("tokenizer.json must hold an object");
  const JsonObject& object = document.get_object();
  const auto part = [&](std::string_view key) -> const Json& { return part_of(object, key); };

  PipelineParts parts;
  parts.normalizer = TRY(in_part(parse_normalizer(part("normalizer")), "normalizer"));
  parts.pre_tokenizer = TRY(in_part(parse_pre_tokenizer(part("pre_tokenizer")), "pre_tokenizer"));
  parts.decoder = TRY(in_part(parse_decoder(part("decoder")), "decoder"));
  parts.post_processor =
      TRY(in_part(PostProcessor::parse(part("post_processor")), "post_processor"));
  parts.added_tokens = TRY(in_part(read_added_tokens(object), "added_tokens"));
  parts.model = TRY(in_part(parse_token_model(part("model")), "model"));
  return make_pipeline(std::move(parts));
}

namespace {

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.model";
  const std::string model = TRY(read_file(path, kMaxFileBytes));
  const JsonObject config = TRY(read_object_file(folder / "tokenizer_config.json"));
  const JsonObject added = TRY(read_object_file(folder / "added_tokens.json"));
  auto tokenizer = tokenizer_from_sentencepiece(model, config, added);
  if (!tokenizer.ok()) return tokenizer.error().in(path.string());
  return tokenizer;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.json";
  auto text = read_file(path, kMaxFileBytes);
  if (!text.ok()) {
    std::error_code error;
    if (!std::filesystem::exists(path, error) &&
        std::filesystem::exists(folder / "tokenizer.model", error))
      return load_sentencepiece(folder);
    return text.error();
  }
  auto tokenizer = parse_tokenizer_json(*text);
  if (!tokenizer.ok()) return tokenizer.error().in(path.string());
  return tokenizer;
}

}  // namespace exo
