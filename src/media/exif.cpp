#include "media/exif.h"

#include <cstring>
#include <optional>
#include <utility>

namespace exo {
namespace {

// Numbers of a TIFF structure, in its own byte order.
struct TiffReader {
  std::span<const std::byte> bytes;
  bool big_endian = false;

  std::optional<uint32_t> number(size_t at, size_t size) const {
    if (at > bytes.size() || bytes.size() - at < size) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t shift = 8 * (big_endian ? size - 1 - i : i);
      value |= std::to_integer<uint32_t>(bytes[at + i]) << shift;
    }
    return value;
  }
};

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShort = 3;  // TIFF's types of a field
constexpr uint32_t kLong = 4;

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  constexpr char kPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
  if (tiff.size() >= 6 && std::memcmp(tiff.data(), kPrefix, 6) == 0) tiff = tiff.subspan(6);
  if (tiff.size() < 8) return 1;
  const TiffReader reader{tiff, tiff[0] == std::byte{'M'}};
  const uint32_t directory = reader.number(4, 4).value_or(0);
  const uint32_t count = reader.number(directory, 2).value_or(0);
  for (uint32_t i = 0; i < count; ++i) {
    const size_t field = size_t{directory} + 2 + size_t{12} * i;  // tag, type, count, value
    const std::optional<uint32_t> tag = reader.number(field, 2);
    if (!tag) return 1;
    if (*tag != kOrientationTag) continue;
    const uint32_t type = reader.number(field + 2, 2).value_or(0);
    if (type != kShort && type != kLong) return 1;
    const uint32_t value = reader.number(field + 8, type == kShort ? 2 : 4).value_or(1);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1) return image;
  const bool swapped = orientation >= 5;  // rows become columns
  Image out;
  out.width = swapped ? image.height : image.width;
  out.height = swapped ? image.width : image.height;
  out.rgb.resize(image.rgb.size());
  const bool mirrored_x =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirrored_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int from_x = swapped ? y : x;
      const int from_y = swapped ? x : y;
      const int column = mirrored_x ? image.width - 1 - from_x : from_x;
      const int row = mirrored_y ? image.height - 1 - from_y : from_y;
      std::memcpy(&out.rgb[(size_t(y) * out.width + x) * 3],
                  &image.rgb[(size_t(row) * image.width + column) * 3], 3);
    }
  }
  return out;
}

}  // namespace exo
