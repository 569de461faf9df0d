#include "inference/image_features.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "model/vision.h"

namespace exo {
namespace {

constexpr size_t kMostKnown = 8;  // a picture's rows are about 10 MB

}  // namespace

Result<void> ImageFeatures::check(const BatchEntry& entry, const Config& config) {
  if (entry.images.empty()) return {};
  if (!config.vision) return invalid_argument("this model does not see pictures");
  for (const PlacedImage& placed : entry.images) {
    if (placed.image == nullptr || placed.token_count != config.vision->tokens() ||
        placed.first_position < 0)
      return invalid_argument(fmt::format("a picture takes {} tokens of this model, not {}",
                                          config.vision->tokens(), placed.token_count));
    TRY(vision::check_image(*config.vision, *placed.image));
  }
  return {};
}

void ImageFeatures::forget_unused() {
  std::erase_if(known_, [&](const Known& known) {
    return known.image.expired() ||
           std::find(finished_.begin(), finished_.end(), known.image.lock()) != finished_.end();
  });
  finished_.clear();
}

Result<Tensor> ImageFeatures::rows_of(const PlacedImage& placed, const Config& config,
                                      const Weights& weights, Backend& backend) {
  for (auto known = known_.begin(); known != known_.end(); ++known) {
    if (known->image.lock() != placed.image) continue;
    std::rotate(known, known + 1, known_.end());
    return known_.back().rows;
  }
  const VisionConfig& vision = *config.vision;
  const std::vector<float> values = vision::pixels(vision, *placed.image);
  const int64_t width = static_cast<int64_t>(values.size()) / vision.patches();
  const Tensor pixels = TRY(backend.upload(values, {vision.patches(), width}));
  if (known_.size() >= kMostKnown) known_.erase(known_.begin());
  known_.push_back({placed.image, vision::features(config, weights, backend.ops(), pixels)});
  return known_.back().rows;
}

Result<std::vector<RowReplacement>> ImageFeatures::replacements(const Batch& batch,
                                                                const Config& config,
                                                                const Weights& weights,
                                                                Backend& backend) {
  forget_unused();
  std::vector<RowReplacement> all;
  int64_t row = 0;
  for (const BatchEntry& entry : batch.entries) {
    for (const PlacedImage& placed : entry.images) {
      const int64_t end = int64_t{placed.first_position} + placed.token_count;
      const int64_t from = std::max(placed.first_position, entry.first_position);
      const int64_t to = std::min(end, int64_t{entry.first_position} + entry.count);
      if (from >= to) continue;
      std::vector<int32_t> of(static_cast<size_t>(to - from)), at(of.size());
      std::iota(of.begin(), of.end(), static_cast<int32_t>(from - placed.first_position));
      std::iota(at.begin(), at.end(), static_cast<int32_t>(row + from - entry.first_position));
      const Tensor rows = TRY(rows_of(placed, config, weights, backend));
      all.push_back({backend.ops().gather_rows(rows, of), std::move(at)});
      if (to == end) finished_.push_back(placed.image);
    }
    row += entry.count;
  }
  return all;
}

}  // namespace exo
