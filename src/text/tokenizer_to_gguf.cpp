#include "text/tokenizer_to_gguf.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/file.h"
#include "text/chat_template.h"
#include "text/gguf_pre_kinds.h"
#include "text/json_parts.h"
#include "text/pre_tokenizer.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

struct Entry {
  std::string text;
  PieceType type = PieceType::normal;
};

class Exporter {
 public:
  Exporter(JsonObject document, int vocab_size)
      : document_(std::move(document)), vocab_size_(vocab_size) {}

  Result<JsonObject> keys() {
    const JsonObject* model = TRY(get_object(document_, "model"));
    if (model == nullptr) return corrupt("tokenizer.json has no 'model'");
    const std::string type = TRY(string_or(*model, "type", "BPE"));
    if (type != "BPE")
      return unsupported(fmt::format("a tokenizer of type '{}' cannot be written as GGUF", type));
    TRY(read_entries(*model));
    TRY(TRY(bool_or(*model, "byte_fallback", false)) ? add_llama(*model) : add_gpt2(*model));
    JsonArray tokens, types;
    for (const Entry& entry : entries_) {
      tokens.push_back(boost::json::string(entry.text));
      types.push_back(static_cast<int>(entry.type));
    }
    keys_["tokenizer.ggml.tokens"] = std::move(tokens);
    keys_["tokenizer.ggml.token_type"] = std::move(types);
    return std::move(keys_);
  }

  std::optional<int64_t> id_of(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  Result<void> put(std::string_view text, const Json& id, PieceType type) {
    boost::json::error_code error;
    const auto number = id.is_number() ? id.to_number<int64_t>(error) : -1;
    if (error || number < 0 || number >= vocab_size_)
      return unsupported(
          fmt::format("the token '{}' has an id outside the model's {}", text, vocab_size_));
    entries_[static_cast<size_t>(number)] = {std::string(text), type};
    ids_[std::string(text)] = number;
    return {};
  }

  Result<void> read_entries(const JsonObject& model) {
    for (int id = 0; id < vocab_size_; ++id)
      entries_.push_back({fmt::format("[PAD{}]", id), PieceType::unused});
    const JsonObject* vocabulary = TRY(get_object(model, "vocab"));
    if (vocabulary == nullptr) return corrupt("tokenizer.json has no 'vocab'");
    for (const auto& [text, id] : *vocabulary) TRY(put(text, id, PieceType::normal));
    const JsonArray* added = TRY(get_array(document_, "added_tokens"));
    if (added == nullptr) return {};
    for (const Json& item : *added) {
      if (!item.is_object()) return corrupt("'added_tokens' must hold objects");
      const JsonObject& token = item.get_object();
      const std::string text = TRY(required_string(token, "content"));
      const bool special = TRY(bool_or(token, "special", false));
      const Json* id = find_value(token, "id");
      TRY(put(text, id == nullptr ? Json() : *id,
              special ? PieceType::control : PieceType::user_defined));
    }
    return {};
  }

  // Merges as "left right"; files may have them as pairs.
  static Result<std::pair<std::string, std::string>> merge_of(const Json& item) {
    if (item.is_array() && item.get_array().size() == 2 && item.get_array()[0].is_string() &&
        item.get_array()[1].is_string())
      return std::pair(std::string(item.get_array()[0].get_string()),
                       std::string(item.get_array()[1].get_string()));
    const std::string text = item.is_string() ? std::string(item.get_string()) : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos) return corrupt("a merge that is no pair of tokens");
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }

  Result<const JsonArray*> merges_of(const JsonObject& model) {
    const JsonArray* merges = TRY(get_array(model, "merges"));
    if (merges == nullptr) return corrupt("tokenizer.json has no 'merges'");
    return merges;
  }

  Result<void> add_split(const Json& step, std::vector<std::string>& patterns) {
    const JsonPart part = TRY(read_part(step, "pre_tokenizer"));
    if (part.type == "Sequence") {
      for (const Json& inner : *TRY(read_part_list(*part.object, "pretokenizers", 0)))
        TRY(add_split(inner, patterns));
    } else if (part.type == "ByteLevel") {
      if (TRY(bool_or(*part.object, "use_regex", true))) patterns.emplace_back(kGpt2Pattern);
      if (TRY(bool_or(*part.object, "add_prefix_space", true)))
        keys_["tokenizer.ggml.add_space_prefix"] = true;
    } else if (part.type == "Digits") {
      patterns.emplace_back(TRY(bool_or(*part.object, "individual_digits", false)) ? R"(\p{N})"
                                                                                   : R"(\p{N}+)");
    } else if (part.type == "Split") {
      patterns.push_back(TRY(read_pattern(*part.object)).text);
    } else {
      return unsupported(fmt::format("the pre-tokenizer '{}' has no name in GGUF", part.type));
    }
    return {};
  }

  Result<void> add_gpt2(const JsonObject& model) {
    const Json* splitter = find_value(document_, "pre_tokenizer");
    const Json* normalizer = find_value(document_, "normalizer");
    std::vector<std::string> patterns;
    if (splitter != nullptr) TRY(add_split(*splitter, patterns));
    const bool ignore_merges = TRY(bool_or(model, "ignore_merges", false));
    const bool nfc = normalizer != nullptr && normalizer->is_object();
    const GgufPreKind* found = nullptr;
    for (const GgufPreKind& kind : gguf_pre_kinds()) {
      const bool same =
          std::equal(kind.patterns.begin(), kind.patterns.end(), patterns.begin(), patterns.end());
      if (!same || kind.nfc != nfc) continue;
      if (found == nullptr || kind.ignore_merges == ignore_merges) found = &kind;
    }
    if (found == nullptr)
      return unsupported(
          "the way its tokenizer splits text has no name in GGUF that is known here");
    const std::string_view names = found->names.substr(1);
    keys_["tokenizer.ggml.model"] = "gpt2";
    keys_["tokenizer.ggml.pre"] = std::string(names.substr(0, names.find(' ')));
    JsonArray merges;
    for (const Json& item : *TRY(merges_of(model))) {
      const auto [left, right] = TRY(merge_of(item));
      merges.push_back(boost::json::string(left + " " + right));
    }
    keys_["tokenizer.ggml.merges"] = std::move(merges);
    return {};
  }

  // SentencePiece's scores: the earlier a token is merged, the higher.
  Result<void> add_llama(const JsonObject& model) {
    keys_["tokenizer.ggml.model"] = "llama";
    keys_["tokenizer.ggml.pre"] = "default";
    constexpr double kLowest = -1e9;
    std::vector<double> scores(entries_.size(), 0);
    for (size_t id = 0; id < entries_.size(); ++id) {
      const std::string& text = entries_[id].text;
      const bool byte = text.size() == 6 && text.starts_with("<0x") && text.ends_with(">");
      if (byte && entries_[id].type == PieceType::normal) entries_[id].type = PieceType::byte;
      if (!byte && text.size() > 1) scores[id] = kLowest;
    }
    double rank = 0;
    for (const Json& item : *TRY(merges_of(model))) {
      const auto [left, right] = TRY(merge_of(item));
      const auto merged = id_of(left + right);
      if (merged && scores[static_cast<size_t>(*merged)] == kLowest)
        scores[static_cast<size_t>(*merged)] = -rank;
      ++rank;
    }
    keys_["tokenizer.ggml.scores"] = JsonArray(scores.begin(), scores.end());
    if (const auto unknown = id_of(TRY(string_or(model, "unk_token", "")))) {
      keys_["tokenizer.ggml.unknown_token_id"] = *unknown;
      entries_[static_cast<size_t>(*unknown)].type = PieceType::unknown;
    }
    std::string rules;
    for (const char* key : {"normalizer", "pre_tokenizer"})
      if (const Json* part = find_value(document_, key)) rules += to_text(*part);
    const auto has = [&](std::string_view rule) { return rules.find(rule) != std::string::npos; };
    keys_["tokenizer.ggml.add_space_prefix"] = has(R"("type":"Prepend")") ||
                                               has(R"("prepend_scheme":"first")") ||
                                               has(R"("prepend_scheme":"always")");
    return {};
  }

  JsonObject document_;
  int vocab_size_;
  std::vector<Entry> entries_;
  std::map<std::string, int64_t, std::less<>> ids_;
  JsonObject keys_;
};

// What the post-processor puts around a text.
void add_surroundings(const Tokenizer& tokenizer, JsonObject& keys) {
  const auto bare = tokenizer.encode("a"), whole = tokenizer.encode_with_special("a");
  keys["tokenizer.ggml.add_bos_token"] =
      whole.size() > bare.size() && !bare.empty() && whole.front() != bare.front();
  keys["tokenizer.ggml.add_eos_token"] =
      whole.size() > bare.size() && !bare.empty() && whole.back() != bare.back();
  if (keys["tokenizer.ggml.add_bos_token"].as_bool())
    keys["tokenizer.ggml.bos_token_id"] = whole.front();
}

// The ids that end a text: the tokenizer's own first, the model's others behind it.
Result<void> add_special_ids(const fs::path& folder, const Exporter& exporter, JsonObject& keys) {
  const JsonObject tokenizer = TRY(read_object_file(folder / "tokenizer_config.json"));
  const JsonObject config = TRY(read_object_file(folder / "config.json"));
  const JsonObject generation = TRY(read_object_file(folder / "generation_config.json"));
  const auto from_tokenizer = [&](const char* key) -> std::optional<int64_t> {
    const Json* value = find_value(tokenizer, key);
    if (value != nullptr && value->is_object()) value = find_value(value->get_object(), "content");
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return exporter.id_of(std::string_view(value->get_string()));
  };
  for (const auto& [name, key] :
       {std::pair{"bos", "bos_token"}, {"eos", "eos_token"}, {"padding", "pad_token"}}) {
    auto id = from_tokenizer(key);
    const Json* of_model = find_value(config, std::string(key) + "_id");
    if (!id && of_model != nullptr && of_model->is_int64()) id = of_model->get_int64();
    if (id) keys[fmt::format("tokenizer.ggml.{}_token_id", name)] = *id;
  }
  std::vector<int64_t> ends;
  for (const JsonObject* object : {&generation, &config}) {
    const Json* value = find_value(*object, "eos_token_id");
    if (value == nullptr || !ends.empty()) continue;
    if (value->is_int64()) ends.push_back(value->get_int64());
    if (value->is_array())
      for (const Json& item : value->get_array())
        if (item.is_int64()) ends.push_back(item.get_int64());
  }
  const Json* eos = find_value(keys, "tokenizer.ggml.eos_token_id");
  if (eos != nullptr) std::erase(ends, eos->get_int64());
  const char* const others[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < std::min(ends.size(), std::size(others)); ++i) keys[others[i]] = ends[i];
  return {};
}

// Texts that the ways of splitting disagree about.
constexpr std::string_view kProbes[] = {
    "Hello, world! It's 12345 o'clock; I'LL be \"there\".",
    "  two  spaces\n\n\nlines\t\ttabs \n x",
    "naïve café Ünïcode 日本語テキスト 한국어 русский текст",
    "emoji 👩‍👩‍👧 🎉 and 1,234,567.89 + x_2 == y[3]{4}",
    "def f(x):\n    return x**2  # comment\r\n",
    "ﬁne ½ ① Å e\u0301 \u200b zero",
    "a",
    " a",
    ""};

Result<void> check_same(const Tokenizer& tokenizer, const JsonObject& keys) {
  const auto read = tokenizer_from_gguf(keys);
  if (!read.ok()) return read.error();
  for (const std::string_view text : kProbes)
    if (tokenizer.encode_with_special(text) != (*read)->encode_with_special(text))
      return unsupported(fmt::format(
          "GGUF's keys cannot express this tokenizer: '{}' would be split in another way", text));
  return {};
}

}  // namespace

Result<JsonObject> tokenizer_to_gguf(const fs::path& folder, int vocab_size) {
  JsonObject document = TRY(read_object_file(folder / "tokenizer.json"));
  if (document.empty()) return JsonObject();
  const auto tokenizer = TRY(load_tokenizer(folder));
  Exporter exporter(std::move(document), vocab_size);
  auto keys = exporter.keys();
  if (!keys.ok()) return keys.error().in((folder / "tokenizer.json").string());
  TRY(add_special_ids(folder, exporter, *keys));
  add_surroundings(*tokenizer, *keys);
  if (const auto source = TRY(find_chat_template(folder)))
    (*keys)["tokenizer.chat_template"] = source->text;
  const Json* plain = find_value(*keys, "tokenizer.chat_template");
  if (const auto source = TRY(find_chat_template(folder, true)))
    if (plain == nullptr || *plain != Json(source->text))
      (*keys)["tokenizer.chat_template.tool_use"] = source->text;
  TRY(check_same(*tokenizer, *keys));
  return keys;
}

}  // namespace exo
