// ModelLibrary: the models of this machine as requests need them: cards, tokenizers, chat
// templates. Two exist: DiskModelLibrary over a ModelStore, and one in memory in tests.
// Thread-safe; results are cached and shared. Errors name the file and what is wrong with it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/model_card.h"
#include "download/model_store.h"
#include "model/model_files.h"
#include "orchestration/node.h"
#include "text/chat_template.h"
#include "text/output_syntax.h"
#include "text/tokenizer.h"

namespace exo {

struct LoadedTemplate {
  std::shared_ptr<const ChatTemplate> chat_template;
  std::string bos_token, eos_token;
  OutputSyntax syntax;
};

class ModelLibrary {
 public:
  virtual ~ModelLibrary() = default;
  // By id or path. The card's path is where it lies here.
  virtual Result<ModelCard> find(const std::string& model) = 0;
  virtual std::vector<ModelCard> list() = 0;  // what cannot be read is left out
  // Where the files of a card made elsewhere lie here: its path if it holds the same files, else
  // any model with the same fingerprint.
  virtual Result<std::filesystem::path> locate(const ModelCard& card) = 0;
  virtual Result<std::shared_ptr<const Tokenizer>> tokenizer(const ModelCard& card) = 0;
  virtual Result<std::shared_ptr<const LoadedTemplate>> chat_template(const ModelCard& card,
                                                                      bool with_tools) = 0;
  virtual GenerationDefaults generation_defaults(const ModelCard& card) = 0;
};

std::shared_ptr<ModelLibrary> make_disk_model_library(ModelStoreOptions options);

}  // namespace exo
