#include "download/model_catalog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>

namespace exo {
namespace {

namespace fs = std::filesystem;

const fs::path kShipped = fs::path(EXO_SOURCE_DIR) / "models" / "cards";

std::string problem(const std::string& text) {
  const auto cards = parse_cards(text);
  return cards.ok() ? "" : cards.error().message;
}

TEST(ModelCatalogTest, ShippedCardsAreGoodAndTheirNamesUnique) {
  const ModelCatalog catalog = ModelCatalog::load({kShipped});
  for (const Error& error : catalog.problems()) ADD_FAILURE() << error.message;
  EXPECT_GE(catalog.cards().size(), 50u);
  std::set<std::string> names, sources;
  for (const CatalogCard& card : catalog.cards()) {
    EXPECT_TRUE(names.insert(card.id).second) << card.id;
    for (const std::string& alias : card.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    for (const CatalogVariant& variant : card.variants)
      EXPECT_TRUE(sources.insert(to_text(variant.source)).second) << to_text(variant.source);
  }
}

// Every family that people ask for has a card, and every card a family that runs, but for Llama 4,
// which the API calls unsupported.
TEST(ModelCatalogTest, ShippedCardsCoverTheFamilies) {
  const ModelCatalog catalog = ModelCatalog::load({kShipped});
  for (const char* name : {"llama-3-8b",
                           "llama-3-70b",
                           "llama-3.1-8b",
                           "llama-3.1-70b",
                           "llama-3.1-405b",
                           "llama-3.2-1b",
                           "llama-3.2-3b",
                           "llama-3.3-70b",
                           "llama-4-scout",
                           "nemotron-70b",
                           "mistral-7b",
                           "mistral-nemo",
                           "mistral-large",
                           "ministral-8b",
                           "mixtral-8x7b",
                           "qwen-2.5-0.5b",
                           "qwen-2.5-72b",
                           "qwen-2.5-coder-7b",
                           "qwen-2.5-math-7b",
                           "qwen-3-8b",
                           "qwen-3-30b-a3b",
                           "qwen-3-235b-a22b",
                           "deepseek-coder-v2-lite",
                           "deepseek-v2-lite",
                           "deepseek-v2.5",
                           "deepseek-v3",
                           "deepseek-r1",
                           "deepseek-r1-distill-qwen-7b",
                           "deepseek-r1-distill-llama-8b",
                           "gemma2-9b",
                           "gemma-3-4b",
                           "phi-3.5-mini",
                           "phi-4",
                           "gpt-oss-20b",
                           "gpt-oss-120b",
                           "llava-1.5-7b-hf",
                           "all-minilm-l6-v2"}) {
    const auto card = catalog.find(name);
    ASSERT_TRUE(card.ok());
    EXPECT_TRUE(*card) << name;
  }
  for (const CatalogCard& card : catalog.cards()) {
    const bool runs =
        fs::exists(fs::path(EXO_SOURCE_DIR) / "src/model/arch" / (card.family + ".cpp"));
    EXPECT_EQ(runs, card.family != "llama4") << card.id;
    EXPECT_GT(card.parameters, 0u) << card.id;
    EXPECT_FALSE(card.capabilities.empty()) << card.id;
    for (const CatalogVariant& variant : card.variants)
      EXPECT_GT(estimated_bytes(card, variant), 0u) << card.id << ":" << variant.quantisation;
  }
}

TEST(ModelCatalogTest, FindsByNameAliasVariantAndSource) {
  const ModelCatalog catalog = ModelCatalog::load({kShipped});
  const auto found = [&](std::string_view name) {
    const auto card = catalog.find(name);
    return !card.ok() ? card.error().message : *card ? (**card).name : "none";
  };
  EXPECT_EQ(found("llama-3.2-3b"), "llama-3.2-3b");
  EXPECT_EQ(found("Llama3.2"), "llama-3.2-3b");
  EXPECT_EQ(found("llama-3.2-3b:Q4_K_M"), "llama-3.2-3b");
  EXPECT_EQ(found("llama-3.2-3b:bf16"), "llama-3.2-3b:bf16");
  EXPECT_NE(found("llama-3.2-3b:q1").find("q4_k_m, q8_0, bf16"), std::string::npos);
  EXPECT_EQ(found("llama-9"), "none");
  const auto source = catalog.source_of("llama-3.2-3b:bf16");
  ASSERT_TRUE(source.ok() && *source);
  EXPECT_EQ(catalog.find(**source)->name, "llama-3.2-3b:bf16");
  EXPECT_EQ((**catalog.source_of("hf.co/a/b:q8_0")).what, "q8_0");
  EXPECT_FALSE(*catalog.source_of("demo"));
  const auto card = *catalog.find("llama-3.2-3b");
  EXPECT_NEAR(static_cast<double>(estimated_bytes(*card->card, *card->variant)), 2.0e9, 0.1e9);
}

TEST(ModelCatalogTest, RefusesByNameWhatItDoesNotKnow) {
  const auto with = [](const std::string& more, const std::string& variant = "") {
    return R"({"cards": [{"id": "x", "family": "f", "licence": "l")" + more +
           R"(, "variants": [{"format": "gguf", "quantisation": "q8_0", "repo": "a/b")" + variant +
           "}]}]}";
  };
  EXPECT_EQ(problem(with("")), "");
  EXPECT_NE(problem(with(R"(, "colour": 1)")).find("card 1 ('x'): 'colour'"), std::string::npos);
  EXPECT_NE(problem(with(R"(, "capabilities": ["fly"])")).find("'fly'"), std::string::npos);
  EXPECT_NE(problem(with(R"(, "parameters": -1)")).find("counts"), std::string::npos);
  EXPECT_NE(problem(with(R"(, "aliases": ["a b"])")).find("aliases"), std::string::npos);
  EXPECT_NE(problem(with("", R"(, "file": "../x")")).find("'file'"), std::string::npos);
  EXPECT_NE(problem(R"({"cards": [{"id": "x"}]})").find("'family'"), std::string::npos);
  EXPECT_NE(problem("[]").find("cards"), std::string::npos);
}

TEST(ModelCatalogTest, PeoplesCardsWin) {
  const fs::path folder = fs::temp_directory_path() / ("exo-cards-" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::ofstream(folder / "mine.json") << R"({"cards": [{"id": "llama-3.2-3b", "family": "llama",
    "licence": "l", "variants": [{"format": "safetensors", "quantisation": "bf16",
    "repo": "me/mine"}]}]})";
  std::ofstream(folder / "broken.json") << "{";
  const ModelCatalog catalog = ModelCatalog::load({kShipped, folder});
  fs::remove_all(folder);
  EXPECT_EQ((**catalog.find("llama-3.2-3b")).variant->source.repo, "me/mine");
  ASSERT_EQ(catalog.problems().size(), 1u);
  EXPECT_NE(catalog.problems().front().message.find("broken.json"), std::string::npos);
}

}  // namespace
}  // namespace exo
