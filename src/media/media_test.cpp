#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/json.h"
#include "media/clip_square.h"
#include "media/decode_image.h"
#include "media/exif.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

const fs::path kPictures = fs::path(EXO_SOURCE_DIR) / "tests/golden/pictures";

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Result<Image> decode(std::string_view bytes, const ImageLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(bytes)), limits);
}

Image decode_file(const std::string& name) {
  Result<Image> image = decode(read_file(kPictures / name));
  EXPECT_TRUE(image.ok()) << name << ": " << (image.ok() ? "" : image.error().message);
  return image.ok() ? *image : Image{1, 1, {0, 0, 0}};
}

Image read_ppm(const fs::path& path) {  // "P6\nW H\n255\n", then the pixels
  std::istringstream in(read_file(path));
  std::string magic;
  int maximum = 0;
  Image image;
  in >> magic >> image.width >> image.height >> maximum;
  in.get();
  image.rgb.resize(size_t(image.width) * image.height * 3);
  in.read(reinterpret_cast<char*>(image.rgb.data()),
          static_cast<std::streamsize>(image.rgb.size()));
  return image;
}

void expect_same(const Image& image, const Image& golden, const std::string& name) {
  EXPECT_EQ(image.width, golden.width) << name;
  EXPECT_EQ(image.height, golden.height) << name;
  EXPECT_EQ(image.rgb, golden.rgb) << name;
}

// Every X.ppm is what X decodes to, every X.clipN.ppm what clip_square makes of that.
TEST(Media, EqualsPillow) {
  int decoded = 0, clipped = 0;
  for (const auto& entry : fs::directory_iterator(kPictures)) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".ppm")) continue;
    const std::string source = name.substr(0, name.size() - 4);
    const size_t clip = source.find(".clip");
    if (clip == std::string::npos) {
      expect_same(decode_file(source), read_ppm(entry.path()), name);
      ++decoded;
    } else {
      const int size = std::stoi(source.substr(clip + 5));
      expect_same(clip_square(decode_file(source.substr(0, clip)), size), read_ppm(entry.path()),
                  name);
      ++clipped;
    }
  }
  EXPECT_GE(decoded, 40);
  EXPECT_GE(clipped, 6);
}

TEST(Media, EqualsTheProcessorOfTransformers) {
  const std::string file = read_file(kPictures / "preprocess.safetensors");
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), 8);
  const Json header = parse_json(std::string_view(file).substr(8, header_size)).value();
  constexpr float kMean[] = {0.48145466f, 0.4578275f, 0.40821073f};
  constexpr float kDeviation[] = {0.26862954f, 0.26130258f, 0.27577711f};
  for (int picture = 0; picture < 4; ++picture) {
    const std::string name = "picture" + std::to_string(picture);
    const Json& tensor = header.as_object().at(name + ".pixel_values");
    const int64_t offset = tensor.at("data_offsets").at(0).to_number<int64_t>();
    std::vector<float> golden(3 * 28 * 28);  // [3, 28, 28]
    std::memcpy(golden.data(), &file[8 + header_size + offset], golden.size() * 4);
    const Image square = clip_square(decode_file(name + ".png"), 28);
    for (int i = 0; i < 28 * 28 * 3; ++i) {
      const int channel = i % 3;
      const float value = golden[channel * 28 * 28 + i / 3] * kDeviation[channel] + kMean[channel];
      ASSERT_EQ(square.rgb[i], std::lround(value * 255)) << name << " at " << i;
    }
  }
}

TEST(Media, AVeryLongPictureCostsNoMore) {
  Image image{.width = 3'000'000, .height = 1};
  image.rgb.assign(size_t{3} * 3'000'000, 77);
  EXPECT_EQ(clip_square(image, 28).rgb, std::vector<uint8_t>(28 * 28 * 3, 77));
}

TEST(Media, SaysWhatIsWrong) {
  const auto message = [](std::string_view bytes, const ImageLimits& limits = {}) {
    const Result<Image> image = decode(bytes, limits);
    return image.ok() ? std::string("decoded") : image.error().message;
  };
  using ::testing::HasSubstr;
  EXPECT_EQ(message(""), "the picture is empty");
  EXPECT_EQ(message("hello"), "these bytes are no picture: send a PNG, JPEG, WebP or GIF picture");
  EXPECT_EQ(message("<svg xmlns='http://www.w3.org/2000/svg'/>"),
            "SVG is not read: send a PNG, JPEG, WebP or GIF picture");
  const std::string png = read_file(kPictures / "rgb.png");
  EXPECT_EQ(message(png, {.bytes = 100}),
            "a picture of " + std::to_string(png.size()) + " bytes is too large: at most 100");
  EXPECT_THAT(message(png, {.pixels = 76}), HasSubstr("11 x 7 pixels is too large"));
  // 65535 x 65535 in the header: refused before anything of that size is allocated.
  std::string bomb = read_file(kPictures / "larger.gif");
  bomb.replace(6, 4, "\xff\xff\xff\xff");
  EXPECT_THAT(message(bomb), HasSubstr("GIF: a picture of 65535 x 65535 pixels is too large"));
  const std::string cmyk = read_file(kPictures / "cmyk.jpg");
  EXPECT_THAT(message(cmyk), HasSubstr("CMYK"));
}

TEST(Media, RefusesWhatIsCutShort) {
  for (const char* name : {"rgb.png", "interlaced.png", "color420.jpg", "progressive.jpg",
                           "lossy.webp", "lossless.webp", "palette.gif"}) {
    const std::string whole = read_file(kPictures / name);
    for (const size_t size : {whole.size() / 3, whole.size() / 2, whole.size() * 9 / 10}) {
      EXPECT_FALSE(decode(std::string_view(whole).substr(0, size)).ok()) << name << " " << size;
    }
  }
}

TEST(Media, StrayBytesBetweenSegmentsHideNothing) {
  const std::string whole = read_file(kPictures / "color420.jpg");
  std::string stray = whole;
  const size_t second = 4 + static_cast<uint8_t>(whole[4]) * 256 + static_cast<uint8_t>(whole[5]);
  stray.insert(second, 3, '\0');
  EXPECT_EQ(decode(stray).value().rgb, decode(whole).value().rgb);
  EXPECT_FALSE(decode(std::string_view(stray).substr(0, stray.size() * 9 / 10)).ok());
}

TEST(Media, TooManyScansAreRefused) {
  const auto refusal = [](const std::string& jpeg) { return decode(jpeg).error().message; };
  const std::string whole = read_file(kPictures / "progressive.jpg");
  const size_t scan = whole.rfind("\xff\xda");
  const auto with_scans = [&](int count) {
    std::string jpeg = whole;
    const std::string last = whole.substr(scan, whole.size() - 2 - scan);
    for (int i = 0; i < count; ++i) jpeg.insert(jpeg.size() - 2, last);
    return jpeg;
  };
  EXPECT_THAT(refusal(with_scans(600)), testing::HasSubstr("more than 500 scans"));
  std::string large = with_scans(20);  // of 8000 x 8000 pixels, says its header
  const size_t frame = large.find("\xff\xc2");
  large.replace(frame + 5, 4, std::string("\x1f\x40\x1f\x40", 4));
  EXPECT_THAT(refusal(large), testing::HasSubstr("too many scans"));
}

TEST(Media, DamagedExifIsNoOrientation) {
  const std::string tiff("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 22);
  EXPECT_EQ(exif_orientation(std::as_bytes(std::span(tiff))), 6);
  for (size_t size = 0; size < tiff.size() - 2; ++size) {
    EXPECT_EQ(exif_orientation(std::as_bytes(std::span(tiff)).first(size)), 1) << size;
  }
}

}  // namespace
}  // namespace exo
