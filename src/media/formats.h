// The decoders behind decode_image, one file each. They get bytes that begin as their format does,
// and give pixels as stored: the caller applies the orientation.
#pragma once

#include "media/decode_image.h"

namespace exo {

struct DecodedPicture {
  Image image;
  int orientation = 1;  // of EXIF: 1 to 8
};

Result<DecodedPicture> decode_png(std::span<const std::byte> bytes, const ImageLimits& limits);
Result<DecodedPicture> decode_jpeg(std::span<const std::byte> bytes, const ImageLimits& limits);
Result<DecodedPicture> decode_webp(std::span<const std::byte> bytes, const ImageLimits& limits);
Result<DecodedPicture> decode_gif(std::span<const std::byte> bytes, const ImageLimits& limits);

// A black picture of that size, or what is wrong with the size.
Result<Image> blank_image(int64_t width, int64_t height, const ImageLimits& limits);

}  // namespace exo
