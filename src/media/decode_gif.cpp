#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "media/formats.h"

namespace exo {
namespace {

using Palette = std::array<std::array<uint8_t, 3>, 256>;

struct Source {
  std::span<const std::byte> rest;
};

int read_source(GifFileType* gif, GifByteType* into, int size) {
  auto* source = static_cast<Source*>(gif->UserData);
  const size_t count = std::min(static_cast<size_t>(size), source->rest.size());
  std::memcpy(into, source->rest.data(), count);
  source->rest = source->rest.subspan(count);
  return static_cast<int>(count);
}

Error gif_error(int code) {
  const char* why = GifErrorString(code);
  return corrupt(fmt::format("the file is damaged or cut short ({})", why ? why : "no reason"));
}

// Reads on to the first frame's description. Gives the palette's index that means "transparent", 0
// where there is none: what Pillow fills the canvas with.
Result<int> seek_first_frame(GifFileType* gif) {
  int background = 0;
  for (;;) {
    GifRecordType type{};
    if (DGifGetRecordType(gif, &type) == GIF_ERROR) return gif_error(gif->Error);
    if (type == TERMINATE_RECORD_TYPE) return corrupt("the file holds no picture");
    if (type == IMAGE_DESC_RECORD_TYPE) {
      if (DGifGetImageDesc(gif) == GIF_ERROR) return gif_error(gif->Error);
      return background;
    }
    if (type != EXTENSION_RECORD_TYPE) continue;
    int code = 0;
    GifByteType* block = nullptr;
    if (DGifGetExtension(gif, &code, &block) == GIF_ERROR) return gif_error(gif->Error);
    GraphicsControlBlock control{};
    if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr &&
        DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK &&
        control.TransparentColor != NO_TRANSPARENT_COLOR) {
      background = control.TransparentColor;
    }
    while (block != nullptr) {
      if (DGifGetExtensionNext(gif, &block) == GIF_ERROR) return gif_error(gif->Error);
    }
  }
}

// The frame's own colours or else the file's; a gray ramp for what they leave out.
Palette palette_of(const GifFileType& gif) {
  Palette palette;
  for (int i = 0; i < 256; ++i) palette[i].fill(static_cast<uint8_t>(i));
  const ColorMapObject* map = gif.Image.ColorMap ? gif.Image.ColorMap : gif.SColorMap;
  for (int i = 0; map != nullptr && i < std::min(map->ColorCount, 256); ++i) {
    palette[i] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
  }
  return palette;
}

Result<void> draw_frame(GifFileType* gif, const Palette& palette, Image& image) {
  const GifImageDesc& frame = gif->Image;
  std::vector<GifPixelType> line(frame.Width);
  constexpr int kFirstRow[] = {0, 4, 2, 1}, kRowStep[] = {8, 8, 4, 2};  // interlaced in four passes
  for (int pass = frame.Interlace ? 0 : 3; pass < 4; ++pass) {
    const int step = frame.Interlace ? kRowStep[pass] : 1;
    for (int y = frame.Interlace ? kFirstRow[pass] : 0; y < frame.Height; y += step) {
      if (DGifGetLine(gif, line.data(), frame.Width) == GIF_ERROR) return gif_error(gif->Error);
      uint8_t* out = &image.rgb[(size_t(frame.Top + y) * image.width + frame.Left) * 3];
      for (const GifPixelType index : line) out = std::ranges::copy(palette[index], out).out;
    }
  }
  return {};
}

}  // namespace

Result<DecodedPicture> decode_gif(std::span<const std::byte> bytes, const ImageLimits& limits) {
  struct Close {
    void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
  };
  Source source{bytes};
  int error = 0;
  const std::unique_ptr<GifFileType, Close> gif(DGifOpen(&source, read_source, &error));
  if (!gif) return gif_error(error);
  const int background = TRY(seek_first_frame(gif.get()));
  const GifImageDesc& frame = gif->Image;
  if (frame.Left < 0 || frame.Top < 0 || frame.Width <= 0 || frame.Height <= 0) {
    return corrupt("the picture has no pixels");
  }
  DecodedPicture decoded{
      TRY(blank_image(std::max(gif->SWidth, frame.Left + frame.Width),
                      std::max(gif->SHeight, frame.Top + frame.Height), limits))};
  const Palette palette = palette_of(*gif);
  auto out = decoded.image.rgb.begin();
  while (out != decoded.image.rgb.end()) out = std::ranges::copy(palette[background], out).out;
  TRY(draw_frame(gif.get(), palette, decoded.image));
  return decoded;
}

}  // namespace exo
