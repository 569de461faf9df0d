#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "media/exif.h"
#include "media/formats.h"

namespace exo {
namespace {

// The first frame (a still picture is one) onto the canvas, which the container's header sizes.
Result<void> decode_frame(WebPDemuxer* webp, Image& image) {
  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> release(
      &frame, WebPDemuxReleaseIterator);
  if (WebPDemuxGetFrame(webp, 1, &frame) == 0) return corrupt("the file holds no picture");
  int width = 0, height = 0;
  const WebPData& data = frame.fragment;
  if (frame.complete == 0 || WebPGetInfo(data.bytes, data.size, &width, &height) == 0) {
    return corrupt("the file is damaged or cut short");
  }
  if (frame.x_offset < 0 || frame.y_offset < 0 || width <= 0 || height <= 0 ||
      width > image.width - frame.x_offset || height > image.height - frame.y_offset) {
    return corrupt("its frame does not fit its canvas");
  }
  const size_t offset = (size_t(frame.y_offset) * image.width + frame.x_offset) * 3;
  if (WebPDecodeRGBInto(data.bytes, data.size, image.rgb.data() + offset, image.rgb.size() - offset,
                        image.width * 3) == nullptr) {
    return corrupt("the file is damaged or cut short");
  }
  return {};
}

int orientation_of(WebPDemuxer* webp) {
  WebPChunkIterator chunk{};
  int orientation = 1;
  if (WebPDemuxGetChunk(webp, "EXIF", 1, &chunk) != 0) {
    orientation = exif_orientation(std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size)));
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

}  // namespace

Result<DecodedPicture> decode_webp(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> webp(WebPDemux(&data),
                                                                      WebPDemuxDelete);
  if (!webp) return corrupt("the file is damaged or cut short");
  DecodedPicture decoded{
      TRY(blank_image(WebPDemuxGetI(webp.get(), WEBP_FF_CANVAS_WIDTH),
                      WebPDemuxGetI(webp.get(), WEBP_FF_CANVAS_HEIGHT), limits))};
  TRY(decode_frame(webp.get(), decoded.image));
  decoded.orientation = orientation_of(webp.get());
  return decoded;
}

}  // namespace exo
