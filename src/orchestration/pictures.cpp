#include "orchestration/pictures.h"

#include <fmt/core.h>

#include <algorithm>

#include "media/clip_square.h"
#include "media/decode_image.h"

namespace exo {
namespace {

Error text_only(const ModelCard& card) {
  return unsupported(
      fmt::format("{} takes text only; GET /v1/models tells which models see pictures", card.id));
}

Result<void> check_images(const std::vector<std::shared_ptr<const Image>>& images,
                          const ModelCard& card) {
  if (images.empty()) return {};
  if (!card.vision) return text_only(card);
  if (images.size() > kMaxImages)
    return invalid_argument(
        fmt::format("a prompt may hold {} pictures, not {}", kMaxImages, images.size()));
  size_t bytes = 0;
  for (const auto& image : images) {
    if (image->width != card.image_size || image->height != card.image_size)
      return internal_error("a picture was not resized for its model");
    bytes += image->rgb.size();
  }
  if (bytes > kMaxImageBytes)
    return invalid_argument(fmt::format("{} pictures of {} x {} pixels are too many for one prompt",
                                        images.size(), card.image_size, card.image_size));
  return {};
}

}  // namespace

Result<std::shared_ptr<const Image>> read_picture(std::span<const std::byte> bytes,
                                                  const ModelCard& card) {
  if (!card.vision) return text_only(card);
  Result<Image> image = decode_image(bytes);
  if (!image.ok()) {
    const ErrorCode code = image.error().code == ErrorCode::unsupported
                               ? ErrorCode::unsupported
                               : ErrorCode::invalid_argument;
    return Error{code, image.error().message};
  }
  return std::shared_ptr<const Image>(
      std::make_shared<Image>(clip_square(*image, card.image_size)));
}

Result<PromptIds> expand_images(std::vector<TokenId> ids,
                                const std::vector<std::shared_ptr<const Image>>& images,
                                const ModelCard& card) {
  TRY(check_images(images, card));
  if (!card.vision) return PromptIds{std::move(ids), {}};
  const auto places = static_cast<size_t>(std::count(ids.begin(), ids.end(), card.image_token));
  if (places != images.size())
    return invalid_argument(fmt::format(
        "the prompt has {} places for a picture (token {}) and {} pictures came with it", places,
        card.image_token, images.size()));
  PromptIds placed;
  for (const TokenId id : ids) {
    if (id != card.image_token) {
      placed.ids.push_back(id);
      continue;
    }
    placed.images.push_back(
        {images[placed.images.size()], static_cast<int>(placed.ids.size()), card.image_tokens});
    placed.ids.insert(placed.ids.end(), static_cast<size_t>(card.image_tokens), id);
  }
  return placed;
}

}  // namespace exo
