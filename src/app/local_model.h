// A model of this device opened without a node: what `exo debug` and `exo bench` work on. `model`
// is an id ("demo"), a checkpoint folder or a .gguf file.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "base/result.h"
#include "download/downloads.h"
#include "download/model_store.h"
#include "inference/embedder.h"
#include "inference/generate_local.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace exo {

ModelStoreOptions model_store_options();  // folders and cards of this device
std::shared_ptr<Downloads> make_downloads(const ModelStoreOptions& store, bool offline,
                                          std::shared_ptr<Neighbours> neighbours = nullptr);
// Where `model` lies: an existing path is taken as it is, else the store must know the name.
Result<std::filesystem::path> local_model_path(const std::string& model);
Result<WeightFormat> parse_weight_format(const std::string& quantize);  // "", "q8_0", "q4_0"

// A folder with only a tokenizer.json will do.
Result<std::shared_ptr<const Tokenizer>> load_model_tokenizer(const std::string& model);

// The chat template(s) of a folder; one with only a tokenizer_config.json will do.
class ModelTemplates {
 public:
  static Result<ModelTemplates> load(const std::string& model);
  // Fills in the model's BOS and EOS; the template for tools is used when there are tools.
  Result<std::string> render(ChatTemplateInput input) const;

 private:
  struct One {
    std::shared_ptr<const ChatTemplate> chat_template;
    std::string bos_token, eos_token;
  };
  One plain_, with_tools_;
};

// Files of pictures as squares of `size` pixels; 0: the model does not see any.
Result<std::vector<std::shared_ptr<const Image>>> load_images(const std::vector<std::string>& files,
                                                              int size);

// An embedding model; `pooling` is what it says itself.
Result<Embedder> load_embedder(const std::string& model, const NodeFlags& flags, Pooling& pooling);

Result<LocalRing> load_local_ring(const std::string& model, const NodeFlags& flags,
                                  const std::string& shards, int kv_capacity_tokens = 0);

}  // namespace exo
