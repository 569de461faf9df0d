#include "download/model_catalog.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <set>

#include "base/file.h"
#include "core/json.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFileBytes = 4u << 20;
constexpr size_t kMostFiles = 1000, kMostCards = 10'000;

constexpr std::array<std::string_view, 5> kCapabilities = {"chat", "tools", "vision", "thinking",
                                                           "embeddings"};

// Bits a weight takes on average, scales included, of a whole file in that format.
struct Bits {
  std::string_view quantisation;
  double bits;
};
constexpr std::array<Bits, 14> kBits = {{{"f32", 32},
                                         {"bf16", 16},
                                         {"f16", 16},
                                         {"fp8", 8.1},
                                         {"q8_0", 8.5},
                                         {"q6_k", 6.6},
                                         {"q5_k_m", 5.7},
                                         {"q5_0", 5.5},
                                         {"q4_k_m", 4.9},
                                         {"q4_k_s", 4.6},
                                         {"q4_0", 4.6},
                                         {"q3_k_m", 3.9},
                                         {"q2_k", 3.2},
                                         {"mxfp4", 4.3}}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 100 && text.front() != '.' && text.front() != '-' &&
         text.find("..") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == '_';
         });
}

Result<void> only_keys(const JsonObject& object, std::initializer_list<std::string_view> known) {
  for (const auto& member : object) {
    const std::string_view key(member.key());
    if (std::find(known.begin(), known.end(), key) == known.end())
      return invalid_argument(
          fmt::format("'{}' is no key of a card; known are: {}", key, fmt::join(known, ", ")));
  }
  return {};
}

Result<std::vector<std::string>> texts(const JsonObject& object, std::string_view key) {
  const JsonArray* list = TRY(get_array(object, key));
  std::vector<std::string> all;
  if (list == nullptr) return all;
  for (const Json& item : *list) {
    if (!item.is_string()) return invalid_argument(fmt::format("'{}' must list texts", key));
    all.emplace_back(item.get_string());
  }
  return all;
}

Result<std::string> required(const JsonObject& object, std::string_view key) {
  const std::string text = TRY(get_string(object, key)).value_or("");
  if (text.empty()) return invalid_argument(fmt::format("'{}' is missing", key));
  return text;
}

Result<CatalogVariant> parse_variant(const Json& json) {
  if (!json.is_object()) return invalid_argument("'variants' must list objects");
  const JsonObject& object = json.get_object();
  TRY(only_keys(object, {"format", "quantisation", "repo", "revision", "file"}));
  CatalogVariant variant;
  variant.format = TRY(required(object, "format"));
  variant.quantisation = TRY(required(object, "quantisation"));
  variant.source.repo = TRY(required(object, "repo"));
  variant.source.revision = TRY(get_string(object, "revision")).value_or("main");
  const std::string file = TRY(get_string(object, "file")).value_or("");
  if (variant.format != "safetensors" && variant.format != "gguf")
    return invalid_argument("'format' must be safetensors or gguf");
  if (!is_name(variant.quantisation)) return invalid_argument("'quantisation' is no such name");
  if (!is_repo_name(variant.source.repo)) return invalid_argument("'repo' must be ORG/NAME");
  if (!is_safe_repo_path(variant.source.revision)) return invalid_argument("'revision' is none");
  if (!file.empty() && (variant.format != "gguf" || !is_safe_repo_path(file)))
    return invalid_argument("'file' must be a GGUF file's path in the repo");
  variant.source.what =
      variant.format == "safetensors" ? "" : (file.empty() ? variant.quantisation : file);
  return variant;
}

Result<CatalogCard> parse_card(const JsonObject& object) {
  TRY(only_keys(object, {"id", "aliases", "family", "parameters", "context_length", "capabilities",
                         "licence", "variants"}));
  CatalogCard card;
  card.id = TRY(required(object, "id"));
  card.aliases = TRY(texts(object, "aliases"));
  card.family = TRY(required(object, "family"));
  card.licence = TRY(required(object, "licence"));
  card.capabilities = TRY(texts(object, "capabilities"));
  const int64_t parameters = TRY(get_int(object, "parameters")).value_or(0);
  const int64_t context = TRY(get_int(object, "context_length")).value_or(0);
  if (parameters < 0 || context < 0 || context > (1 << 30))
    return invalid_argument("'parameters' and 'context_length' must be counts");
  card.parameters = static_cast<uint64_t>(parameters);
  card.context_length = static_cast<int>(context);
  for (const std::string& word : card.capabilities)
    if (std::find(kCapabilities.begin(), kCapabilities.end(), word) == kCapabilities.end())
      return invalid_argument(fmt::format("'{}' is no capability; known are: {}", word,
                                          fmt::join(kCapabilities, ", ")));
  if (!is_name(card.id) || !std::all_of(card.aliases.begin(), card.aliases.end(), is_name))
    return invalid_argument(
        "'id' and 'aliases' may have small letters, digits, '.', '-' and '_' only");
  const JsonArray* variants = TRY(get_array(object, "variants"));
  if (variants == nullptr || variants->empty()) return invalid_argument("'variants' is missing");
  for (const Json& variant : *variants) card.variants.push_back(TRY(parse_variant(variant)));
  for (size_t i = 0; i < card.variants.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (card.variants[i].quantisation == card.variants[j].quantisation)
        return invalid_argument(
            fmt::format("two variants are called '{}'", card.variants[i].quantisation));
  return card;
}

}  // namespace

uint64_t estimated_bytes(const CatalogCard& card, const CatalogVariant& variant) {
  for (const Bits& known : kBits)
    if (known.quantisation == variant.quantisation)
      return static_cast<uint64_t>(static_cast<double>(card.parameters) * known.bits / 8);
  return 0;
}

Result<std::vector<CatalogCard>> parse_cards(std::string_view text) {
  const Json json = TRY(parse_json(text, 16));
  if (!json.is_object()) return invalid_argument("it must be {\"cards\": [...]}");
  TRY(only_keys(json.get_object(), {"cards"}));
  const JsonArray* list = TRY(get_array(json.get_object(), "cards"));
  if (list == nullptr) return invalid_argument("'cards' is missing");
  std::vector<CatalogCard> cards;
  for (const Json& item : *list) {
    if (!item.is_object()) return invalid_argument("'cards' must list objects");
    auto card = parse_card(item.get_object());
    if (!card.ok()) {
      const auto id = get_string(item.get_object(), "id");
      return card.error().in(
          fmt::format("card {} ('{}')", cards.size() + 1, id.ok() ? id->value_or("") : ""));
    }
    cards.push_back(std::move(card).value());
  }
  return cards;
}

void ModelCatalog::add(std::vector<CatalogCard> cards, const fs::path& file) {
  for (CatalogCard& card : cards) {
    std::erase_if(cards_, [&](const CatalogCard& old) { return old.id == card.id; });
    for (const std::string& alias : card.aliases) {
      const auto taken = find(alias);
      if (taken.ok() && *taken)
        problems_.push_back(
            invalid_argument(fmt::format("{}: the alias '{}' of '{}' means '{}' already",
                                         file.string(), alias, card.id, (*taken)->card->id)));
    }
    if (cards_.size() < kMostCards) cards_.push_back(std::move(card));
  }
}

ModelCatalog ModelCatalog::load(const std::vector<fs::path>& folders) {
  ModelCatalog catalog;
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    std::vector<fs::path> files;
    fs::directory_iterator entry(folder, ignored);
    for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored))
      if (entry->path().extension() == ".json" && files.size() < kMostFiles)
        files.push_back(entry->path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      auto text = read_file(file, kMostFileBytes);
      auto cards = text.ok() ? parse_cards(*text) : Result<std::vector<CatalogCard>>(text.error());
      if (cards.ok())
        catalog.add(std::move(cards).value(), file);
      else
        catalog.problems_.push_back(text.ok() ? cards.error().in(file.string()) : text.error());
    }
  }
  std::sort(catalog.cards_.begin(), catalog.cards_.end(),
            [](const CatalogCard& a, const CatalogCard& b) { return a.id < b.id; });
  return catalog;
}

ModelCatalog::Found ModelCatalog::found(const CatalogCard& card, const CatalogVariant& variant) {
  const bool first = &variant == card.variants.data();
  return {&card, &variant, first ? card.id : card.id + ":" + variant.quantisation};
}

Result<std::optional<ModelCatalog::Found>> ModelCatalog::find(std::string_view name) const {
  const std::string wanted = lower(name.substr(0, name.find(':')));
  const std::string quantisation =
      name.find(':') == std::string_view::npos ? "" : lower(name.substr(name.find(':') + 1));
  const auto named = [&](const CatalogCard& card) {
    return card.id == wanted ||
           std::find(card.aliases.begin(), card.aliases.end(), wanted) != card.aliases.end();
  };
  const auto card = std::find_if(cards_.begin(), cards_.end(), named);
  if (card == cards_.end()) return std::optional<Found>();
  std::string known;
  for (const CatalogVariant& variant : card->variants) {
    if (name.find(':') == std::string_view::npos || variant.quantisation == quantisation)
      return std::optional<Found>(found(*card, variant));
    known += (known.empty() ? "" : ", ") + variant.quantisation;
  }
  return not_found(
      fmt::format("{} is not known as '{}'; it is as: {}", card->id, quantisation, known));
}

std::optional<ModelCatalog::Found> ModelCatalog::find(const ModelSource& source) const {
  for (const CatalogCard& card : cards_)
    for (const CatalogVariant& variant : card.variants)
      if (variant.source.repo == source.repo && lower(variant.source.what) == lower(source.what))
        return found(card, variant);
  return std::nullopt;
}

Result<std::optional<ModelSource>> ModelCatalog::source_of(std::string_view name) const {
  auto address = TRY(parse_model_source(name));
  if (address) return address;
  const auto known = TRY(find(name));
  if (!known) return std::optional<ModelSource>();
  return std::optional<ModelSource>(known->variant->source);
}

}  // namespace exo
