#include "media/clip_square.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace exo {
namespace {

// Pillow's arithmetic (Resample.c): weights in double, normalised, then rounded to fixed point; an
// 8-bit result after each of the two passes, horizontal first.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr double kSupport = 2.0;  // of the bicubic kernel, in pixels of the coarser picture

double bicubic(double x) {  // Keys 1981, a = -1/2
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// How one output pixel comes from a stretch of inputs.
struct Tap {
  int first = 0;
  std::vector<int32_t> weights;
};

Tap make_tap(int in_size, double scale, int64_t out) {
  const double filter_scale = std::max(scale, 1.0);
  const double support = kSupport * filter_scale;
  const double center = (static_cast<double>(out) + 0.5) * scale;
  Tap tap{.first = std::max(0, static_cast<int>(center - support + 0.5))};
  const int end = std::min(in_size, static_cast<int>(center + support + 0.5));
  std::vector<double> exact;
  double sum = 0;
  for (int x = tap.first; x < end; ++x) {
    exact.push_back(bicubic((x - center + 0.5) * (1.0 / filter_scale)));
    sum += exact.back();
  }
  for (double weight : exact) {
    if (sum != 0.0) weight /= sum;
    const double scaled = weight * (1 << kPrecisionBits);
    tap.weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
  }
  return tap;
}

// The taps of `count` outputs from `begin` on, when in_size pixels become out_size.
std::vector<Tap> make_taps(int in_size, int64_t out_size, int64_t begin, int count) {
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
  std::vector<Tap> taps;
  for (int i = 0; i < count; ++i) taps.push_back(make_tap(in_size, scale, begin + i));
  return taps;
}

// One channel of one output: inputs `stride` bytes apart.
uint8_t apply(const Tap& tap, const uint8_t* in, size_t stride) {
  int32_t sum = 1 << (kPrecisionBits - 1);
  for (const int32_t weight : tap.weights) {
    sum += weight * *in;
    in += stride;
  }
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

}  // namespace

Image clip_square(const Image& image, int size) {
  CHECK(size > 0 && image.width > 0 && image.height > 0, "a picture without pixels");
  const int shorter = std::min(image.width, image.height);
  const auto resized = [&](int edge) {  // truncated, as the processor's int() does
    return static_cast<int64_t>(static_cast<double>(size) * edge / shorter);
  };
  const int64_t out_width = resized(image.width), out_height = resized(image.height);
  const auto columns = make_taps(image.width, out_width, (out_width - size) / 2, size);
  const auto rows = make_taps(image.height, out_height, (out_height - size) / 2, size);

  const int top = rows.front().first;
  const int bottom = rows.back().first + static_cast<int>(rows.back().weights.size());
  std::vector<uint8_t> narrow(size_t(bottom - top) * size * 3);  // [rows in use, size, 3]
  uint8_t* out = narrow.data();
  for (int y = top; y < bottom; ++y) {
    const uint8_t* line = &image.rgb[size_t(y) * image.width * 3];
    for (const Tap& tap : columns) {
      for (int c = 0; c < 3; ++c) *out++ = apply(tap, line + size_t(tap.first) * 3 + c, 3);
    }
  }
  Image square{.width = size, .height = size};
  square.rgb.reserve(size_t(size) * size * 3);
  const size_t stride = size_t(size) * 3;
  for (const Tap& tap : rows) {
    for (size_t x = 0; x < stride; ++x) {
      square.rgb.push_back(apply(tap, &narrow[(tap.first - top) * stride + x], stride));
    }
  }
  return square;
}

}  // namespace exo
