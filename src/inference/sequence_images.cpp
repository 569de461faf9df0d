#include "inference/sequence_images.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {
namespace {

bool is_square(const PlacedImage& placed, int size) {
  return placed.image != nullptr && placed.image->width == size && placed.image->height == size &&
         placed.image->rgb.size() == size_t{3} * size * size;
}

bool same_picture(const PlacedImage& a, const PlacedImage& b) {
  return a.first_position == b.first_position && a.token_count == b.token_count &&
         (a.image == b.image || a.image->rgb == b.image->rgb);
}

}  // namespace

ImageRules image_rules(const ModelCard& card) {
  if (!card.vision) return {};
  return {card.image_size, card.image_tokens, card.image_token};
}

std::optional<Error> image_fault(const SessionOpen& open, const ImageRules& rules) {
  if (open.images.empty()) return std::nullopt;
  if (rules.tokens <= 0) return unsupported("this model takes text only");
  if (open.images.size() > kMaxImages)
    return invalid_argument(fmt::format("at most {} pictures fit into a prompt", kMaxImages));
  int64_t free = 0;  // the first position that no earlier picture takes
  for (const PlacedImage& placed : open.images) {
    const int64_t end = int64_t{placed.first_position} + placed.token_count;
    if (placed.first_position < free || placed.token_count != rules.tokens ||
        end > static_cast<int64_t>(open.prompt_ids.size()))
      return invalid_argument("a picture does not stand where the prompt has room for it");
    const auto first = open.prompt_ids.begin() + placed.first_position;
    if (std::any_of(first, first + placed.token_count,
                    [&](TokenId id) { return id != rules.token; }))
      return invalid_argument("a picture stands on ids that are not the model's image token");
    if (!is_square(placed, rules.size))
      return invalid_argument(
          fmt::format("a picture is not of the {0} x {0} pixels that the model sees", rules.size));
    free = end;
  }
  return std::nullopt;
}

std::vector<PlacedImage> images_within(const std::vector<PlacedImage>& images, int begin, int end) {
  std::vector<PlacedImage> within;
  for (const PlacedImage& placed : images)
    if (placed.first_position < end && placed.first_position + placed.token_count > begin)
      within.push_back(placed);
  return within;
}

int alike_until(const std::vector<PlacedImage>& a, const std::vector<PlacedImage>& b, int most) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    int position = most;  // of the earlier of the two
    if (i < a.size()) position = std::min(position, a[i].first_position);
    if (i < b.size()) position = std::min(position, b[i].first_position);
    if (position == most) return most;
    if (i >= a.size() || i >= b.size() || !same_picture(a[i], b[i])) return position;
  }
  return most;
}

}  // namespace exo
