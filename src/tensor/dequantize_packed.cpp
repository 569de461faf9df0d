// Layouts and arithmetic are facts of the GGUF format (ggml, github.com/ggml-org/ggml, MIT); MXFP4
// is the OCP Microscaling format. This file is compiled without contraction of a * b + c, so that
// every machine gives the same bits.
#include "tensor/dequantize_packed.h"

#include <array>
#include <bit>

#include "base/check.h"
#include "tensor/block_bytes.h"
#include "tensor/dequantize_iq.h"

namespace exo {
namespace {

using Bytes = const uint8_t*;

constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::array<int8_t, 16> kMxfp4Values = {0, 1,  2,  3,  4,  6,  8,  12,
                                                 0, -1, -2, -3, -4, -6, -8, -12};

// Low nibbles are elements 0..15, high ones 16..31.
void q4_1(Bytes in, float* out) {
  const float d = half_at(in), m = half_at(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(in[4 + i] & 15) * d + m;
    out[i + 16] = static_cast<float>(in[4 + i] >> 4) * d + m;
  }
}

// The fifth bit of element i is bit i of a word.
void q5_0(Bytes in, float* out) {
  const float d = half_at(in);
  const uint32_t high = number_at<uint32_t>(in + 2);
  for (int i = 0; i < 16; ++i) {
    const int a = (in[6 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int b = (in[6 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = static_cast<float>(a - 16) * d;
    out[i + 16] = static_cast<float>(b - 16) * d;
  }
}

void q5_1(Bytes in, float* out) {
  const float d = half_at(in), m = half_at(in + 2);
  const uint32_t high = number_at<uint32_t>(in + 4);
  for (int i = 0; i < 16; ++i) {
    const int a = (in[8 + i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int b = (in[8 + i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = static_cast<float>(a) * d + m;
    out[i + 16] = static_cast<float>(b) * d + m;
  }
}

// 16 groups of 16: a nibble of scale and one of minimum each, then 2 bits per element.
void q2_k(Bytes in, float* out) {
  const Bytes scales = in, quants = in + 16;
  const float d = half_at(in + 80), dmin = half_at(in + 82);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(scales[group] & 15);
    const float minimum = dmin * static_cast<float>(scales[group] >> 4);
    const Bytes q = quants + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    for (int i = 0; i < 16; ++i)
      out[group * 16 + i] = scale * static_cast<float>(q[i] >> shift & 3) - minimum;
  }
}

// The third bit lies apart; 16 scales of 6 bits are packed into 12 bytes.
void q3_k(Bytes in, float* out) {
  const Bytes high = in, quants = in + 32, packed = in + 96;
  const float d = half_at(in + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int top = packed[8 + group % 4] >> (group / 4 * 2) & 3;
    const float scale = d * static_cast<float>((low | top << 4) - 32);
    const int offset = group % 2 * 16, shift = group % 8 / 2 * 2;
    const Bytes q = quants + group / 8 * 32 + offset, h = high + offset;
    const int bit = group / 8 * 4 + group % 8 / 2;
    for (int i = 0; i < 16; ++i) {
      const int value = (q[i] >> shift & 3) - ((h[i] >> bit & 1) != 0 ? 0 : 4);
      out[group * 16 + i] = scale * static_cast<float>(value);
    }
  }
}

struct ScaleMin {
  int scale, minimum;
};
// 8 scales and 8 minima of 6 bits in 12 bytes.
ScaleMin scale_min(Bytes packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[i + 4] & 63};
  return {(packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4),
          (packed[i + 4] >> 4) | (packed[i] >> 6 << 4)};
}

// 8 groups of 32; pairs of groups share bytes.
void q4_k(Bytes in, float* out) {
  const float d = half_at(in), dmin = half_at(in + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin s = scale_min(in + 4, group);
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.minimum);
    const Bytes q = in + 16 + group / 2 * 32;
    for (int i = 0; i < 32; ++i)
      out[group * 32 + i] = scale * static_cast<float>(q[i] >> (group % 2 * 4) & 15) - minimum;
  }
}

void q5_k(Bytes in, float* out) {
  const float d = half_at(in), dmin = half_at(in + 2);
  const Bytes high = in + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleMin s = scale_min(in + 4, group);
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.minimum);
    const Bytes q = in + 48 + group / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      const int value = (q[i] >> (group % 2 * 4) & 15) + ((high[i] >> group & 1) != 0 ? 16 : 0);
      out[group * 32 + i] = scale * static_cast<float>(value) - minimum;
    }
  }
}

// Two halves of 128: 4 bits and 2 bits apart, an int8 scale for each 16.
void q6_k(Bytes in, float* out) {
  const float d = half_at(in + 208);
  for (int half = 0; half < 2; ++half) {
    const Bytes low = in + half * 64, high = in + 128 + half * 32, scales = in + 192 + half * 8;
    for (int part = 0; part < 4; ++part) {
      for (int i = 0; i < 32; ++i) {
        const int nibble = low[part % 2 * 32 + i] >> (part / 2 * 4) & 15;
        const int value = (nibble | (high[i] >> (part * 2) & 3) << 4) - 32;
        const float scale = d * static_cast<float>(static_cast<int8_t>(scales[part * 2 + i / 16]));
        out[half * 128 + part * 32 + i] = scale * static_cast<float>(value);
      }
    }
  }
}

void iq4_nl(Bytes in, float* out) {
  const float d = half_at(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4Values[in[2 + i] & 15]);
    out[i + 16] = d * static_cast<float>(kIq4Values[in[2 + i] >> 4]);
  }
}

// 8 groups of 32 with scales of 6 bits: 4 in nibbles, 2 in a word.
void iq4_xs(Bytes in, float* out) {
  const float d = half_at(in);
  const int high = in[2] | in[3] << 8;
  for (int group = 0; group < 8; ++group) {
    const int low = in[4 + group / 2] >> (group % 2 * 4) & 15;
    const float scale = d * static_cast<float>((low | (high >> (2 * group) & 3) << 4) - 32);
    const Bytes q = in + 8 + group * 16;
    for (int i = 0; i < 16; ++i) {
      out[group * 32 + i] = scale * static_cast<float>(kIq4Values[q[i] & 15]);
      out[group * 32 + i + 16] = scale * static_cast<float>(kIq4Values[q[i] >> 4]);
    }
  }
}

// The table holds doubled values, so the scale is half of 2^(e - 127).
void mxfp4(Bytes in, float* out) {
  const uint32_t e = in[0];
  const float d = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(kMxfp4Values[in[1 + i] & 15]) * d;
    out[i + 16] = static_cast<float>(kMxfp4Values[in[1 + i] >> 4]) * d;
  }
}

const std::array<float, 256>& f8_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> made{};
    for (size_t i = 0; i < made.size(); ++i) made[i] = f8_e4m3_to_f32(static_cast<uint8_t>(i));
    return made;
  }();
  return values;
}
void f8_32(Bytes in, float* out) {
  const auto scale = number_at<float>(in);
  const std::array<float, 256>& values = f8_values();
  for (int i = 0; i < 32; ++i) out[i] = values[in[4 + i]] * scale;
}

using Block = void (*)(Bytes in, float* out);

// Number `i` of a stream of kBits each, lowest bits first.
template <int kBits>
float stream_value(Bytes in, int i) {
  const int bit = i * kBits, shift = bit % 8;
  int word = in[bit / 8];
  if (shift + kBits > 8) word |= in[bit / 8 + 1] << 8;
  return static_cast<float>(word >> shift & ((1 << kBits) - 1));
}
template <int kBits>
void affine(Bytes in, float* out) {
  const float scale = half_at(in), bias = half_at(in + 2);
  for (int i = 0; i < 32; ++i) out[i] = stream_value<kBits>(in + 4, i) * scale + bias;
}
template <int kBits>
void affine_f32(Bytes in, float* out) {
  const float scale = number_at<float>(in);
  const float bias = number_at<float>(in + 4);
  for (int i = 0; i < 32; ++i) out[i] = stream_value<kBits>(in + 8, i) * scale + bias;
}

void zero4(Bytes in, float* out) {
  const float scale = half_at(in), zero = half_at(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = (static_cast<float>(in[4 + i] & 15) - zero) * scale;
    out[i + 16] = (static_cast<float>(in[4 + i] >> 4) - zero) * scale;
  }
}
void zero8(Bytes in, float* out) {
  const float scale = half_at(in), zero = half_at(in + 2);
  for (int i = 0; i < 32; ++i) out[i] = (static_cast<float>(in[4 + i]) - zero) * scale;
}

struct Format {
  DType dtype;
  Block block;
};
constexpr Format kFormats[] = {
    {DType::q4_1, q4_1},
    {DType::q5_0, q5_0},
    {DType::q5_1, q5_1},
    {DType::q2_k, q2_k},
    {DType::q3_k, q3_k},
    {DType::q4_k, q4_k},
    {DType::q5_k, q5_k},
    {DType::q6_k, q6_k},
    {DType::iq4_nl, iq4_nl},
    {DType::iq4_xs, iq4_xs},
    {DType::mxfp4, mxfp4},
    {DType::f8_32, f8_32},
    {DType::affine2, affine<2>},
    {DType::affine3, affine<3>},
    {DType::affine6, affine<6>},
    {DType::affine8, affine<8>},
    {DType::affine2_f32, affine_f32<2>},
    {DType::affine3_f32, affine_f32<3>},
    {DType::affine4_f32, affine_f32<4>},
    {DType::affine5_f32, affine_f32<5>},
    {DType::affine6_f32, affine_f32<6>},
    {DType::affine8_f32, affine_f32<8>},
    {DType::zero4, zero4},
    {DType::zero8, zero8},
};

void scaled_numbers(iq::Reader* read, Bytes in, size_t block_bytes, std::span<float> out) {
  iq::Numbers numbers;
  for (size_t at = 0; at < out.size(); at += 256, in += block_bytes) {
    read(in, numbers);
    for (size_t i = 0; i < 256; ++i)
      out[at + i] = static_cast<float>(numbers.values[i]) * numbers.scales[i / 16];
  }
}

Block block_of(DType dtype) {
  for (const Format& format : kFormats)
    if (format.dtype == dtype) return format.block;
  return nullptr;
}

}  // namespace

bool is_packed(DType dtype) {
  return block_of(dtype) != nullptr || iq::reader_of(dtype) != nullptr;
}

void dequantize_packed(DType dtype, const std::byte* in, std::span<float> out) {
  const Block block = block_of(dtype);
  const DTypeTraits& type = traits(dtype);
  const auto* from = reinterpret_cast<Bytes>(in);
  if (iq::Reader* const read = iq::reader_of(dtype))
    return scaled_numbers(read, from, static_cast<size_t>(type.block_bytes), out);
  CHECK(block != nullptr, type.name);
  for (size_t i = 0; i < out.size(); i += static_cast<size_t>(type.block_size)) {
    block(from, out.data() + i);
    from += type.block_bytes;
  }
}

}  // namespace exo
