// Pictures on their way into a prompt: from the bytes of a file to the square that a model sees,
// and from the image tokens of a rendered prompt to the places where they stand. Pure functions,
// thread-safe. Errors are for the client: invalid_argument or unsupported.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "core/image.h"
#include "core/model_card.h"

namespace exo {

// PNG, JPEG, WebP or GIF. Refused without a look at the bytes where the model takes text only.
Result<std::shared_ptr<const Image>> read_picture(std::span<const std::byte> bytes,
                                                  const ModelCard& card);

struct PromptIds {
  std::vector<TokenId> ids;
  std::vector<PlacedImage> images;
};

// Each image token of a vision model's prompt becomes as many as its picture takes. There must be
// one for each picture, in the same order; other models' ids stay as they are.
Result<PromptIds> expand_images(std::vector<TokenId> ids,
                                const std::vector<std::shared_ptr<const Image>>& images,
                                const ModelCard& card);

}  // namespace exo
