#include "inference/place_images.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {

Result<std::vector<PlacedImage>> place_images(std::span<const TokenId> ids,
                                              std::span<const std::shared_ptr<const Image>> images,
                                              const ModelCard& card) {
  std::vector<PlacedImage> placed;
  if (images.empty()) return placed;
  if (!card.vision || card.image_tokens < 1)
    return invalid_argument(fmt::format("the model {} does not see pictures", card.id));
  const auto tokens = static_cast<size_t>(card.image_tokens);
  const auto found = static_cast<size_t>(std::count(ids.begin(), ids.end(), card.image_token));
  if (found != images.size() * tokens)
    return invalid_argument(
        fmt::format("{} pictures take {} image tokens ({}), but the prompt holds {}", images.size(),
                    images.size() * tokens, card.image_token, found));
  for (size_t at = 0; at < ids.size();) {
    if (ids[at] != card.image_token) {
      ++at;
      continue;
    }
    const auto picture = ids.subspan(at, std::min(tokens, ids.size() - at));
    if (std::count(picture.begin(), picture.end(), card.image_token) != card.image_tokens)
      return invalid_argument(fmt::format("the image tokens at position {} are not {} in a row", at,
                                          card.image_tokens));
    placed.push_back({images[placed.size()], static_cast<int>(at), card.image_tokens});
    at += tokens;
  }
  return placed;
}

}  // namespace exo
