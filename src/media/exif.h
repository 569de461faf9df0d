// How the camera was held, from the EXIF block of a picture, and the picture turned upright.
// Damaged blocks count as none: the picture is worth more than its notes.
#pragma once

#include <cstddef>
#include <span>

#include "core/image.h"

namespace exo {

// 1 to 8; 1 where nothing is said. `tiff` begins with the byte order ("II" or "MM"); the six bytes
// "Exif\0\0" that some formats put in front are skipped.
int exif_orientation(std::span<const std::byte> tiff);

Image upright(Image image, int orientation);

}  // namespace exo
