#include <cstddef>
#include <cstdint>

#include "media/clip_square.h"
#include "media/decode_image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const exo::ImageLimits limits{.bytes = 1 << 20, .pixels = 1'000'000};
  const auto image = exo::decode_image(std::as_bytes(std::span(data, size)), limits);
  if (!image.ok()) return 0;
  if (image->rgb.size() != size_t(image->width) * image->height * 3) __builtin_trap();
  if (exo::clip_square(*image, 14).rgb.size() != size_t{14} * 14 * 3) __builtin_trap();
  return 0;
}
