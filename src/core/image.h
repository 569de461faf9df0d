// Image: decoded pixels, ready for a model's tower: already of the size that its ModelCard names.
// Plain values; shared read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace exo {

struct Image {
  int width = 0;  // pixels
  int height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

// Where an image stands in a sequence: what the tower makes of it takes the place of the embeddings
// of `token_count` ids, all of them the model's image token.
struct PlacedImage {
  std::shared_ptr<const Image> image;
  int first_position = 0;  // absolute
  int token_count = 0;
};

// Of one sequence: what one message between nodes carries.
inline constexpr int kMaxImages = 16;
inline constexpr size_t kMaxImageBytes = size_t{48} << 20;  // of pixels

inline size_t image_bytes(const std::vector<PlacedImage>& images) {
  size_t sum = 0;
  for (const PlacedImage& placed : images)
    if (placed.image != nullptr) sum += placed.image->rgb.size();
  return sum;
}

}  // namespace exo
