// ModelCatalog: the models known by name, from card files (models/cards/*.json that ship with exo,
// and people's own in ~/.config/exo/models/). Immutable after loading, thread-safe. A card says
// where a model comes from; what it is in detail (layers, sizes) its own files say once they are
// here. docs/models.md describes the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "download/model_source.h"

namespace exo {

struct CatalogVariant {
  std::string format;        // "safetensors" or "gguf"
  std::string quantisation;  // "bf16", "q4_k_m", "mxfp4"
  ModelSource source;
};

struct CatalogCard {
  std::string id;
  std::vector<std::string> aliases;
  std::string family;
  uint64_t parameters = 0;                // 0 = not said
  int context_length = 0;                 // tokens; 0 = not said
  std::vector<std::string> capabilities;  // chat, tools, vision, thinking, embeddings
  std::string licence;
  std::vector<CatalogVariant> variants;  // the first one is meant where none is named
};

// Of the weights, judged by the parameter count; 0 where that or the format is unknown.
uint64_t estimated_bytes(const CatalogCard& card, const CatalogVariant& variant);

// One file's text: {"cards": [...]}. Strict: unknown keys and words are errors that name the card.
Result<std::vector<CatalogCard>> parse_cards(std::string_view text);

class ModelCatalog {
 public:
  struct Found {
    const CatalogCard* card = nullptr;
    const CatalogVariant* variant = nullptr;
    std::string name;  // what the model is called here: the id, with ":QUANT" if not the first
  };

  ModelCatalog() = default;
  // Later folders win, so that people can replace a card. A file that cannot be read, and a card
  // whose name is taken in its own folder, is left out and said in problems().
  static ModelCatalog load(const std::vector<std::filesystem::path>& folders);

  // By id or alias, upper and lower case alike, with an optional ":QUANTISATION"; not_found where
  // the card has no such variant. Nothing when no card has the name.
  Result<std::optional<Found>> find(std::string_view name) const;
  // The variant that comes from there.
  std::optional<Found> find(const ModelSource& source) const;
  // What a name stands for: a card's source, or a hub's address (hf.co/ORG/NAME).
  Result<std::optional<ModelSource>> source_of(std::string_view name) const;

  const std::vector<CatalogCard>& cards() const { return cards_; }  // sorted by id
  const std::vector<Error>& problems() const { return problems_; }

 private:
  void add(std::vector<CatalogCard> cards, const std::filesystem::path& file);
  static Found found(const CatalogCard& card, const CatalogVariant& variant);

  std::vector<CatalogCard> cards_;
  std::vector<Error> problems_;
};

}  // namespace exo
