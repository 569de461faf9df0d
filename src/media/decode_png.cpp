#include <fmt/format.h>
#include <spng.h>

#include <algorithm>
#include <memory>

#include "media/exif.h"
#include "media/formats.h"

namespace exo {
namespace {

constexpr size_t kChunkLimitBytes = size_t{32} << 20;  // of what is kept of notes and profiles

Error png_error(int code) {
  if (code == SPNG_EOF || code == SPNG_IO_EOF) return corrupt("the file ends too early");
  return corrupt(fmt::format("the file is damaged ({})", spng_strerror(code)));
}

// 16-bit gray, as Pillow expands it: its mode "I" is clipped, not scaled, on the way to RGB.
Result<void> decode_gray16(spng_ctx* png, Image& image) {
  std::vector<uint16_t> gray(image.rgb.size() / 3);
  const int code = spng_decode_image(png, gray.data(), gray.size() * 2, SPNG_FMT_PNG, 0);
  if (code != 0) return png_error(code);
  for (size_t i = 0; i < gray.size(); ++i) {
    std::fill_n(&image.rgb[i * 3], 3, static_cast<uint8_t>(std::min<uint16_t>(gray[i], 255)));
  }
  return {};
}

Result<void> decode_pixels(spng_ctx* png, const spng_ihdr& header, Image& image) {
  if (header.bit_depth == 16 && header.color_type == SPNG_COLOR_TYPE_GRAYSCALE) {
    return decode_gray16(png, image);
  }
  const int code = spng_decode_image(png, image.rgb.data(), image.rgb.size(), SPNG_FMT_RGB8, 0);
  if (code != 0) return png_error(code);
  return {};
}

}  // namespace

Result<DecodedPicture> decode_png(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)> png(spng_ctx_new(0), spng_ctx_free);
  if (!png) return resource_exhausted("no memory to decode it");
  spng_set_chunk_limits(png.get(), kChunkLimitBytes, kChunkLimitBytes);
  spng_ihdr header{};
  int code = spng_set_png_buffer(png.get(), bytes.data(), bytes.size());
  if (code == 0) code = spng_get_ihdr(png.get(), &header);
  if (code != 0) return png_error(code);
  DecodedPicture decoded{TRY(blank_image(header.width, header.height, limits))};
  TRY(decode_pixels(png.get(), header, decoded.image));
  spng_exif exif{};
  if (spng_get_exif(png.get(), &exif) == 0) {
    decoded.orientation = exif_orientation(std::as_bytes(std::span(exif.data, exif.length)));
  }
  return decoded;
}

}  // namespace exo
