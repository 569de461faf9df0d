// Embedder: an embedding model on a Backend of this machine, whole: token ids in, vectors out. Owns
// both; one thread at a time. What does not fit the model (ids, lengths, token types) is an Error
// that says so.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/model_files.h"
#include "model/weights.h"

namespace exo {

struct EmbedderOptions {
  std::string backend = "cpu";
  BackendOptions backend_options;
  WeightFormat weight_format = WeightFormat::as_stored;
};

struct EmbedInput {
  std::vector<TokenId> ids;  // with the model's special tokens, as its tokenizer adds them
  std::vector<int32_t> token_types = {};  // one for each id; empty: all 0
};

class Embedder {
 public:
  static Result<Embedder> load(const ModelFiles& model, const EmbedderOptions& options);

  // For each input, whatever else is asked for with it: a vector of the model's hidden size, of
  // length 1 when pooled by mean or cls; with Pooling::none a row for each id, as the last layer
  // left it.
  Result<std::vector<std::vector<float>>> embed(std::span<const EmbedInput> inputs,
                                                Pooling pooling);
  int width() const { return config_.hidden_size; }

 private:
  Result<void> check(const EmbedInput& input) const;
  Result<std::vector<std::vector<float>>> run(std::span<const EmbedInput> inputs, Pooling pooling);

  const Architecture* architecture_ = nullptr;
  Config config_;
  std::unique_ptr<Backend> backend_;
  Weights weights_;
};

}  // namespace exo
