#include <fmt/format.h>
#include <turbojpeg.h>

#include <cstring>
#include <memory>
#include <string_view>

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

// The EXIF block among the segments before the first scan; empty where there is none.
std::span<const std::byte> find_exif(std::span<const std::byte> bytes) {
  const uint8_t* data = raw(bytes);
  size_t at = 2;
  while (at + 4 <= bytes.size() && data[at] == 0xff) {
    const uint8_t marker = data[at + 1];
    if (marker == 0xff) {  // padding
      ++at;
      continue;
    }
    const size_t size = size_t{data[at + 2]} << 8 | data[at + 3];  // counts itself
    if (marker == kStartOfScan || size < 2 || size > bytes.size() - at - 2) break;
    const auto content = bytes.subspan(at + 4, size - 2);
    if (marker == kApp1 && content.size() > 6 && std::memcmp(content.data(), "Exif\0", 6) == 0) {
      return content;
    }
    at += 2 + size;
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

// Some cameras leave stray bytes between segments; every reader skips them. All other warnings
// mean that pixels are missing.
bool harmless(tjhandle jpeg) {
  return tjGetErrorCode(jpeg) == TJERR_WARNING &&
         std::strstr(tjGetErrorStr2(jpeg), "extraneous bytes before marker") != nullptr;
}

}  // namespace

Result<DecodedPicture> decode_jpeg(std::span<const std::byte> bytes, const ImageLimits& limits) {
  struct Destroy {
    void operator()(void* handle) const { tjDestroy(handle); }
  };
  const std::unique_ptr<void, Destroy> jpeg(tjInitDecompress());
  if (!jpeg) return resource_exhausted("no memory to decode it");
  int width = 0, height = 0, subsampling = 0, colors = 0;
  if (tjDecompressHeader3(jpeg.get(), raw(bytes), bytes.size(), &width, &height, &subsampling,
                          &colors) != 0 &&
      !harmless(jpeg.get())) {
    return jpeg_error(jpeg.get());
  }
  if (colors == TJCS_CMYK || colors == TJCS_YCCK) {
    return unsupported("CMYK colours (made for print) are not read: save it as RGB");
  }
  DecodedPicture decoded{TRY(blank_image(width, height, limits))};
  if (count_scans(bytes) > kMaxPixelPasses / (int64_t{width} * height)) {
    return invalid_argument("it has too many scans for its size: save it as a baseline JPEG");
  }
  if (tjDecompress2(jpeg.get(), raw(bytes), bytes.size(), decoded.image.rgb.data(), width,
                    width * 3, height, TJPF_RGB, TJFLAG_LIMITSCANS) != 0 &&
      !harmless(jpeg.get())) {
    return jpeg_error(jpeg.get());
  }
  decoded.orientation = exif_orientation(find_exif(bytes));
  return decoded;
}

}  // namespace exo
