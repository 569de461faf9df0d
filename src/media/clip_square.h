// What CLIP's image processor does to a picture before its numbers: the short edge is resized to
// `size` (bicubic), then the middle square is cut out. Bit for bit what Pillow gives, so that a
// model sees what it was trained on. Only what the square shows is computed: a picture a million
// pixels long costs no more than another. Pure, thread-safe.
#pragma once

#include "core/image.h"

namespace exo {

Image clip_square(const Image& image, int size);

}  // namespace exo
