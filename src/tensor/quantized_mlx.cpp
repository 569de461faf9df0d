// MLX's quantised matrices (github.com/ml-explore/mlx, mlx.core.quantize): "X.weight" holds U32
// words of numbers in a stream of 2 to 8 bits, lowest bits first; "X.scales" and "X.biases" one
// pair for each group of a row: value = number * scale + bias. In mode "mxfp4" numbers are E2M1,
// and a group of 32 has an E8M0 exponent instead.
#include <fmt/core.h>

#include "tensor/block_bytes.h"
#include "tensor/packed_weight.h"

namespace exo {
namespace {

constexpr int64_t kMostGroup = 1 << 20;  // weights that share a scale
constexpr std::string_view kScales = ".scales";

struct Layout {
  int64_t bits = 0;
  int64_t group = 0;
};

Result<DType> affine_type(int64_t bits, bool wide) {
  switch (bits) {
    case 2:
      return wide ? DType::affine2_f32 : DType::affine2;
    case 3:
      return wide ? DType::affine3_f32 : DType::affine3;
    case 4:
      return wide ? DType::affine4_f32 : DType::q4_1;
    case 5:
      return wide ? DType::affine5_f32 : DType::q5_1;
    case 6:
      return wide ? DType::affine6_f32 : DType::affine6;
    case 8:
      return wide ? DType::affine8_f32 : DType::affine8;
    default:
      return unsupported(fmt::format("MLX weights of {} bits", bits));
  }
}

// 32 numbers from bit `first` of a row.
std::array<uint8_t, 32> take_numbers(const std::byte* row, int64_t first, int64_t bits) {
  std::array<uint8_t, 32> numbers;
  const auto* in = reinterpret_cast<const uint8_t*>(row) + first / 8;  // 32 numbers are whole bytes
  uint32_t pending = 0;
  int64_t filled = 0;
  for (uint8_t& number : numbers) {
    for (; filled < bits; filled += 8) pending |= static_cast<uint32_t>(*in++) << filled;
    number = static_cast<uint8_t>(pending & ((1u << bits) - 1));
    pending >>= bits;
    filled -= bits;
  }
  return numbers;
}

class AffineWeight : public PackedWeight {
 public:
  AffineWeight(TensorInfo info, HostTensor words, FloatReader scales, FloatReader biases,
               Layout layout)
      : PackedWeight(std::move(info)),
        words_(std::move(words)),
        scales_(std::move(scales)),
        biases_(std::move(biases)),
        layout_(layout) {}

  Result<void> pack_row(int64_t row, std::byte* out) const override {
    const std::byte* in = words_.bytes.data() + row * width() * layout_.bits / 8;
    const auto block_bytes = static_cast<size_t>(traits(info().dtype).block_bytes);
    for (int64_t column = 0; column < width(); column += 32, out += block_bytes) {
      const int64_t group = row * (width() / layout_.group) + column / layout_.group;
      const BlockParts parts{take_numbers(in, column * layout_.bits, layout_.bits),
                             scales_.at(group), biases_.at(group)};
      TRY(put_block(info().dtype, parts, out));
    }
    return {};
  }

 private:
  HostTensor words_;
  FloatReader scales_, biases_;
  Layout layout_;
};

class Mxfp4Weight : public PackedWeight {
 public:
  Mxfp4Weight(Shape shape, HostTensor words, HostTensor exponents)
      : PackedWeight({DType::mxfp4, std::move(shape)}),
        words_(std::move(words)),
        exponents_(std::move(exponents)) {}

  Result<void> pack_row(int64_t row, std::byte* out) const override {
    const std::byte* in = words_.bytes.data() + row * width() / 2;
    for (int64_t column = 0; column < width(); column += 32, out += 17) {
      const auto numbers = take_numbers(in, column * 4, 4);
      out[0] = exponents_.bytes[static_cast<size_t>((row * width() + column) / 32)];
      put_nibbles(numbers, out + 1);
    }
    return {};
  }

 private:
  HostTensor words_, exponents_;
};

Result<Packed> make_weight(const TensorFiles& files, const std::string& module,
                           const JsonObject& settings) {
  const std::string mode = TRY(get_string(settings, "mode")).value_or("affine");
  const int64_t bits = TRY(get_int(settings, "bits")).value_or(4);
  const int64_t group = TRY(get_int(settings, "group_size")).value_or(64);
  const Layout layout{bits, group};
  HostTensor words = TRY(files.find(module + ".weight"));
  if (layout.bits < 2 || layout.bits > 8 || layout.group <= 0 || layout.group > kMostGroup ||
      layout.group % 32 != 0)
    return unsupported(
        fmt::format("MLX weights of {} bits in groups of {}", layout.bits, layout.group));
  if (words.shape.size() < 2 || words.dtype != DType::u32 || words.elements() == 0 ||
      words.shape.back() * 32 % (layout.bits * layout.group) != 0)
    return corrupt(fmt::format("'{}.weight' is not {} bits in groups of {}", module, layout.bits,
                               layout.group));
  Shape shape = words.shape;
  shape.back() = shape.back() * 32 / layout.bits;
  Shape groups = shape;
  groups.back() = shape.back() / layout.group;
  const std::string scales_name = module + std::string(kScales);
  if (mode == "mxfp4" && layout.bits == 4 && layout.group == 32) {
    HostTensor exponents = TRY(files.find(scales_name));
    if (exponents.dtype != DType::u8 || exponents.shape != groups)
      return corrupt(fmt::format("'{}' is not one exponent for each group", scales_name));
    return make_packed<Mxfp4Weight>(std::move(shape), std::move(words), std::move(exponents));
  }
  if (mode != "affine") return unsupported(fmt::format("MLX weights in mode '{}'", mode));
  FloatReader scales = TRY(find_floats(files, scales_name, groups));
  FloatReader biases = TRY(find_floats(files, module + ".biases", groups));
  const bool wide = scales.tensor().dtype == DType::f32 || biases.tensor().dtype == DType::f32;
  const DType dtype = TRY(affine_type(layout.bits, wide));
  return make_packed<AffineWeight>(TensorInfo{dtype, std::move(shape)}, std::move(words),
                                   std::move(scales), std::move(biases), layout);
}

}  // namespace

// A matrix is quantised where it has scales. Modules with settings of their own are listed by name.
Result<PackedWeights> find_mlx_weights(const TensorFiles& files, const JsonObject& settings) {
  PackedWeights found;
  for (const std::string& name : files.names()) {
    if (!name.ends_with(kScales)) continue;
    const std::string module = name.substr(0, name.size() - kScales.size());
    JsonObject own = settings;
    const Json* special = find_value(settings, module);
    if (special != nullptr && special->is_object())
      for (const auto& [key, value] : special->get_object()) own[key] = value;
    found.add(module + ".weight", TRY(make_weight(files, module, own)),
              {module + ".weight", name, module + ".biases"});
  }
  return found;
}

}  // namespace exo
