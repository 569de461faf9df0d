// The vision tower and projector of a model that sees pictures, all on the first shard: their
// tensors, the pixels they take, and what they make of a picture. Pure functions; numbers in
// VisionConfig (model/config.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/image.h"
#include "model/architecture.h"

namespace exo::vision {

// The tensors of the layers that are run, by Hugging Face's or llama.cpp's names.
void declare(const Config& config, std::vector<WeightSpec>& specs);
// Tensors of the tower that are not needed for its features.
bool may_ignore(const Config& config, std::string_view name);

// preprocessor_config.json. Steps other than resizing the short edge, cropping the centre, scaling
// and normalising are refused by name.
Result<void> read_preprocessor(const JsonObject& json, VisionConfig& vision);

// Of the size that the tower takes.
Result<void> check_image(const VisionConfig& vision, const Image& image);
// Normalised, a row for each patch: [patches, 3 * patch_size * patch_size].
std::vector<float> pixels(const VisionConfig& vision, const Image& image);
// [patches, ...] -> [tokens, hidden]: rows to stand in for embeddings.
Tensor features(const Config& config, const Weights& weights, Ops& ops, const Tensor& pixels);

}  // namespace exo::vision
