#include <fmt/format.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "media/exif.h"
#include "media/formats.h"

namespace exo {
namespace {

// A progressive file may order its pixels to be gone over hundreds of times. Encoders make about
// ten passes.
constexpr int64_t kMaxPixelPasses = 1'000'000'000;

constexpr uint8_t kStartOfScan = 0xda;
constexpr uint8_t kApp1 = 0xe1;

const uint8_t* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

// The segments in front of the first scan, from their markers on. Some cameras leave stray bytes
// between segments, which every reader skips and libjpeg warns of.
struct Segments {
  std::vector<std::span<const std::byte>> all;
  size_t end = 2;  // where the scan begins, or what is no segment
  bool strays = false;
};

Segments find_segments(std::span<const std::byte> bytes) {
  const uint8_t* data = raw(bytes);
  Segments segments;
  for (size_t& at = segments.end; at + 4 <= bytes.size();) {
    if (data[at] != 0xff || data[at + 1] == 0xff) {
      segments.strays |= data[at] != 0xff;
      ++at;  // stray, or padding
      continue;
    }
    const size_t size = size_t{data[at + 2]} << 8 | data[at + 3];  // counts itself
    if (data[at + 1] == kStartOfScan || size < 2 || size > bytes.size() - at - 2) break;
    segments.all.push_back(bytes.subspan(at, size + 2));
    at += size + 2;
  }
  return segments;
}

std::vector<std::byte> without_strays(std::span<const std::byte> bytes, const Segments& segments) {
  std::vector<std::byte> clean(bytes.begin(), bytes.begin() + 2);
  for (const auto segment : segments.all) clean.insert(clean.end(), segment.begin(), segment.end());
  clean.insert(clean.end(), bytes.begin() + static_cast<ptrdiff_t>(segments.end), bytes.end());
  return clean;
}

// The EXIF block; empty where there is none.
std::span<const std::byte> find_exif(const Segments& segments) {
  for (const auto segment : segments.all) {
    const auto content = segment.subspan(4);
    if (segment[1] == std::byte{kApp1} && content.size() > 6 &&
        std::memcmp(content.data(), "Exif\0", 6) == 0)
      return content;
  }
  return {};
}

// 0xff 0xda never stands inside compressed data; thumbnails in notes may add a few.
int64_t count_scans(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  int64_t count = 0;
  for (size_t at = text.find("\xff\xda"); at != text.npos; at = text.find("\xff\xda", at + 2))
    ++count;
  return count;
}

Error jpeg_error(tjhandle jpeg) {
  return corrupt(fmt::format("the file is damaged or cut short ({})", tjGetErrorStr2(jpeg)));
}

}  // namespace

Result<DecodedPicture> decode_jpeg(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const Segments segments = find_segments(bytes);
  std::vector<std::byte> clean;
  if (segments.strays) bytes = clean = without_strays(bytes, segments);
  struct Destroy {
    void operator()(void* handle) const { tjDestroy(handle); }
  };
  const std::unique_ptr<void, Destroy> jpeg(tjInitDecompress());
  if (!jpeg) return resource_exhausted("no memory to decode it");
  int width = 0, height = 0, subsampling = 0, colors = 0;
  if (tjDecompressHeader3(jpeg.get(), raw(bytes), bytes.size(), &width, &height, &subsampling,
                          &colors) != 0) {
    return jpeg_error(jpeg.get());
  }
  if (colors == TJCS_CMYK || colors == TJCS_YCCK) {
    return unsupported("CMYK colours (made for print) are not read: save it as RGB");
  }
  if (count_scans(bytes) > kMaxPixelPasses / std::max<int64_t>(int64_t{width} * height, 1)) {
    return invalid_argument("it has too many scans for its size: save it as a baseline JPEG");
  }
  DecodedPicture decoded{TRY(blank_image(width, height, limits))};
  if (tjDecompress2(jpeg.get(), raw(bytes), bytes.size(), decoded.image.rgb.data(), width,
                    width * 3, height, TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
    return jpeg_error(jpeg.get());
  }
  decoded.orientation = exif_orientation(find_exif(segments));
  return decoded;
}

}  // namespace exo
