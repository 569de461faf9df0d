#include "media/decode_image.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "media/exif.h"
#include "media/formats.h"

namespace exo {
namespace {

// What a file is, by its first bytes ('?' = any).
struct Magic {
  std::string_view pattern;
  std::string_view name;
  Result<DecodedPicture> (*decode)(std::span<const std::byte>, const ImageLimits&) = nullptr;
};

constexpr auto kMagics = std::to_array<Magic>({
    {"\x89PNG\r\n\x1a\n", "PNG", decode_png},
    {"\xff\xd8\xff", "JPEG", decode_jpeg},
    {"RIFF????WEBP", "WebP", decode_webp},
    {"GIF87a", "GIF", decode_gif},
    {"GIF89a", "GIF", decode_gif},
    {"????ftyphei", "HEIC"},
    {"????ftypmif1", "HEIC"},
    {"????ftypavif", "AVIF"},
    {"BM", "BMP"},
    {"II*", "TIFF"},
    {"MM", "TIFF"},
    {"%PDF", "PDF"},
    {"<svg", "SVG"},
    {"<?xml", "SVG"},
});

bool begins_with(std::span<const std::byte> bytes, std::string_view pattern) {
  if (bytes.size() < pattern.size()) return false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '?' && static_cast<std::byte>(pattern[i]) != bytes[i]) return false;
  }
  return true;
}

Error not_a_picture(std::string_view what) {
  return unsupported(fmt::format("{}: send a PNG, JPEG, WebP or GIF picture", what));
}

}  // namespace

Result<Image> blank_image(int64_t width, int64_t height, const ImageLimits& limits) {
  if (width <= 0 || height <= 0) return corrupt("the picture has no pixels");
  if (width > limits.pixels || height > limits.pixels / width) {
    return invalid_argument(
        fmt::format("a picture of {} x {} pixels is too large: at most {} million", width, height,
                    limits.pixels / 1'000'000));
  }
  Image image{.width = static_cast<int>(width), .height = static_cast<int>(height)};
  image.rgb.resize(static_cast<size_t>(width) * height * 3);
  return image;
}

Result<Image> decode_image(std::span<const std::byte> bytes, const ImageLimits& limits) {
  if (bytes.empty()) return corrupt("the picture is empty");
  if (bytes.size() > limits.bytes) {
    return invalid_argument(
        fmt::format("a picture of {} bytes is too large: at most {}", bytes.size(), limits.bytes));
  }
  for (const Magic& magic : kMagics) {
    if (!begins_with(bytes, magic.pattern)) continue;
    if (magic.decode == nullptr) return not_a_picture(fmt::format("{} is not read", magic.name));
    Result<DecodedPicture> decoded = magic.decode(bytes, limits);
    if (!decoded.ok()) return decoded.error().in(magic.name);
    return upright(std::move(decoded->image), decoded->orientation);
  }
  return not_a_picture("these bytes are no picture");
}

}  // namespace exo
