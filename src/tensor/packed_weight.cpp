#include "tensor/packed_weight.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "tensor/block_bytes.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

// Scale and bias in f16. Exact for every f16, and for bfloat16 from 2^-17 up; below that the scale
// is rounded to a multiple of 2^-24, far less than one step of its group.
Result<void> put_half(float value, std::byte* out) {
  const uint16_t bits = f32_to_f16(value);
  if (!std::isfinite(f16_to_f32(bits)))
    return unsupported(fmt::format("a scale or bias of {} is beyond float16", value));
  std::memcpy(out, &bits, sizeof bits);
  return {};
}
Result<void> put_halves(const BlockParts& parts, std::byte* out) {
  TRY(put_half(parts.scale, out));
  return put_half(parts.bias, out + 2);
}

void put_stream(const BlockParts& parts, int bits, std::byte* out) {
  uint32_t pending = 0;
  int filled = 0;
  for (const uint8_t quant : parts.quants) {
    pending |= static_cast<uint32_t>(quant) << filled;
    for (filled += bits; filled >= 8; filled -= 8, pending >>= 8)
      *out++ = static_cast<std::byte>(pending & 0xff);
  }
}

Result<void> put_f32(const BlockParts& parts, int bits, std::byte* out) {
  std::memcpy(out, &parts.scale, sizeof(float));
  std::memcpy(out + sizeof(float), &parts.bias, sizeof(float));
  put_stream(parts, bits, out + 2 * sizeof(float));
  return {};
}
Result<void> put_f16(const BlockParts& parts, int bits, std::byte* out) {
  TRY(put_halves(parts, out));
  put_stream(parts, bits, out + 4);
  return {};
}

template <class T>
T element_at(const HostTensor& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

Result<HostTensor> find_shaped(const TensorFiles& files, const std::string& name,
                               const Shape& shape) {
  HostTensor tensor = TRY(files.find(name));
  if (tensor.shape == shape) return tensor;
  return corrupt(fmt::format("the tensor '{}' has the shape [{}], but [{}] fits its weight", name,
                             fmt::join(tensor.shape, ", "), fmt::join(shape, ", ")));
}

}  // namespace

void PackedWeights::add(const std::string& name, Packed weight,
                        std::vector<std::string> its_parts) {
  parts.insert(its_parts.begin(), its_parts.end());
  by_name.emplace(name, std::move(weight));
  made_of.emplace(name, std::move(its_parts));
}

Result<void> put_block(DType dtype, const BlockParts& parts, std::byte* out) {
  switch (dtype) {
    case DType::q4_0:
      TRY(put_half(parts.scale, out));
      put_nibbles(parts.quants, out + 2);
      return {};
    case DType::q4_1:
    case DType::zero4:
      TRY(put_halves(parts, out));
      put_nibbles(parts.quants, out + 4);
      return {};
    case DType::q5_1:
      TRY(put_halves(parts, out));
      put_fifth_bits(parts.quants, out + 4);
      put_nibbles(parts.quants, out + 8);
      return {};
    case DType::affine2:
      return put_f16(parts, 2, out);
    case DType::affine3:
      return put_f16(parts, 3, out);
    case DType::affine6:
      return put_f16(parts, 6, out);
    case DType::affine8:
    case DType::zero8:
      return put_f16(parts, 8, out);
    case DType::affine2_f32:
      return put_f32(parts, 2, out);
    case DType::affine3_f32:
      return put_f32(parts, 3, out);
    case DType::affine4_f32:
      return put_f32(parts, 4, out);
    case DType::affine5_f32:
      return put_f32(parts, 5, out);
    case DType::affine6_f32:
      return put_f32(parts, 6, out);
    case DType::affine8_f32:
      return put_f32(parts, 8, out);
    default:
      CHECK(false, traits(dtype).name);
  }
}

float FloatReader::at(int64_t index) const {
  switch (tensor_.dtype) {
    case DType::f16:
      return f16_to_f32(element_at<uint16_t>(tensor_, index));
    case DType::bf16:
      return bf16_to_f32(element_at<uint16_t>(tensor_, index));
    default:
      return element_at<float>(tensor_, index);
  }
}

Result<FloatReader> find_floats(const TensorFiles& files, const std::string& name,
                                const Shape& shape) {
  HostTensor tensor = TRY(find_shaped(files, name, shape));
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16)
    return unsupported(fmt::format("'{}' of type {}", name, traits(tensor.dtype).name));
  return FloatReader(std::move(tensor));
}

Result<WordReader> find_words(const TensorFiles& files, const std::string& name,
                              const Shape& shape) {
  HostTensor tensor = TRY(find_shaped(files, name, shape));
  if (tensor.dtype != DType::i32 && tensor.dtype != DType::u32)
    return unsupported(fmt::format("'{}' of type {}", name, traits(tensor.dtype).name));
  return WordReader(std::move(tensor));
}

}  // namespace exo
