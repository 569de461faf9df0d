// ImageFeatures: what the first shard's tower made of the pictures of prompts that are being
// prefilled, computed once for all chunks of a prompt. A picture is forgotten when its last row was
// used, or when nobody else holds it. Owned by the engine; its thread only.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "core/batch.h"
#include "model/decoder.h"
#include "model/weights.h"

namespace exo {

class ImageFeatures {
 public:
  // The rows of a batch that pictures take the place of.
  Result<std::vector<RowReplacement>> replacements(const Batch& batch, const Config& config,
                                                   const Weights& weights, Backend& backend);
  // Every picture of the entry is of the model's size and length. For batches made elsewhere.
  static Result<void> check(const BatchEntry& entry, const Config& config);

 private:
  struct Known {
    std::weak_ptr<const Image> image;
    Tensor rows;  // [tokens, hidden]
  };
  void forget_unused();
  Result<Tensor> rows_of(const PlacedImage& placed, const Config& config, const Weights& weights,
                         Backend& backend);

  std::vector<Known> known_;  // least recently used first
  std::vector<std::shared_ptr<const Image>> finished_;
};

}  // namespace exo
