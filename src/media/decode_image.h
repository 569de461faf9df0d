// Pictures as people send them (PNG, JPEG, WebP, GIF), to pixels. The bytes are hostile: the format
// is told by its first bytes, sizes are checked before anything is allocated, and every failure is
// a Result that says what is wrong with the picture. Pure functions, thread-safe; libraries decode.
//
// The pixels are those that Pillow gives after ImageOps.exif_transpose and convert("RGB"), which
// is how pictures reach the models' own preprocessing: the orientation of the camera is undone, an
// alpha channel is dropped (never blended), gray and palettes are expanded, of 16-bit colours the
// high byte stays, and of an animation the first frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "core/image.h"

namespace exo {

struct ImageLimits {
  size_t bytes = size_t{20} << 20;
  int64_t pixels = 64'000'000;  // 3 bytes each while it is decoded
};

Result<Image> decode_image(std::span<const std::byte> bytes, const ImageLimits& limits = {});

}  // namespace exo
