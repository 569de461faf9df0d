// Where the pictures of a prompt stand. Pure function.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/image.h"
#include "core/model_card.h"

namespace exo {

// The pictures in order on the runs of the model's image token, which stands in `ids` once for each
// of a picture's rows. Without pictures it is a token like any other.
Result<std::vector<PlacedImage>> place_images(std::span<const TokenId> ids,
                                              std::span<const std::shared_ptr<const Image>> images,
                                              const ModelCard& card);

}  // namespace exo
