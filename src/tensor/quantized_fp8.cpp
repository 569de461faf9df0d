// FP8 (E4M3) weights with float scales: one for each block of rows and columns in
// "X.weight_scale_inv" (DeepSeek V3's layout), or one for each row or for the whole matrix in
// "X.weight_scale" (compressed-tensors, AutoFP8). Both multiply.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "tensor/packed_weight.h"

namespace exo {
namespace {

struct Blocks {
  int64_t rows = 0;
  int64_t columns = 0;
};

// Rows that are not whole blocks of 32, which no large matrix has, are widened.
class Fp8Weight : public PackedWeight {
 public:
  Fp8Weight(HostTensor weight, FloatReader scales, Blocks blocks)
      : PackedWeight({fits(weight, blocks) ? DType::f8_32 : DType::f32, weight.shape}),
        weight_(std::move(weight)),
        scales_(std::move(scales)),
        blocks_(blocks) {}

  Result<void> pack_row(int64_t row, std::byte* out) const override {
    const std::byte* in = weight_.bytes.data() + row * width();
    const int64_t across = (width() + blocks_.columns - 1) / blocks_.columns;
    const auto scale = [&](int64_t column) {
      return scales_.at(row / blocks_.rows * across + column / blocks_.columns);
    };
    if (info().dtype == DType::f32) {
      for (int64_t i = 0; i < width(); ++i, out += sizeof(float)) {
        const float value = f8_e4m3_to_f32(std::to_integer<uint8_t>(in[i])) * scale(i);
        std::memcpy(out, &value, sizeof value);
      }
      return {};
    }
    for (int64_t column = 0; column < width(); column += 32, in += 32, out += 36) {
      const float factor = scale(column);
      std::memcpy(out, &factor, sizeof factor);
      std::memcpy(out + sizeof factor, in, 32);
    }
    return {};
  }

 private:
  static bool fits(const HostTensor& weight, const Blocks& blocks) {
    return weight.shape.back() % 32 == 0 &&
           (blocks.columns % 32 == 0 || blocks.columns == weight.shape.back());
  }
  HostTensor weight_;
  FloatReader scales_;
  Blocks blocks_;
};

Result<Blocks> read_blocks(const JsonObject& settings) {
  const JsonArray* sizes = TRY(get_array(settings, "weight_block_size"));
  if (sizes == nullptr) return Blocks{};
  const auto size_at = [&](size_t i) {
    return sizes->size() == 2 && (*sizes)[i].is_int64()
               ? std::clamp<int64_t>((*sizes)[i].get_int64(), 0, 1 << 20)
               : 0;
  };
  const Blocks blocks{size_at(0), size_at(1)};
  if (blocks.rows <= 0 || blocks.columns <= 0)
    return unsupported("FP8 weights whose 'weight_block_size' is not two positive numbers");
  return blocks;
}

Result<Packed> make_weight(const TensorFiles& files, const std::string& name,
                           const Blocks& blocks) {
  const HostTensor weight = TRY(files.find(name));
  if (weight.shape.size() != 2 || weight.elements() == 0)
    return unsupported(fmt::format("'{}' is FP8 and no matrix", name));
  const int64_t rows = weight.shape[0], width = weight.shape[1];
  const std::string by_block = name + "_scale_inv", by_row = name + "_scale";
  if (files.contains(by_block)) {
    if (blocks.rows == 0)
      return unsupported(fmt::format("'{}' is FP8 with blocks that are not known here", name));
    const Shape shape{(rows + blocks.rows - 1) / blocks.rows,
                      (width + blocks.columns - 1) / blocks.columns};
    return make_packed<Fp8Weight>(weight, TRY(find_floats(files, by_block, shape)), blocks);
  }
  if (!files.contains(by_row))
    return unsupported(fmt::format("'{}' is FP8 without '{}' or '{}'", name, by_block, by_row));
  const Shape shape = TRY(files.describe(by_row)).shape;
  const int64_t count = HostTensor{.shape = shape}.elements();
  if (count != 1 && shape != Shape{rows, 1} && shape != Shape{rows})
    return corrupt(fmt::format("'{}' is neither one scale nor one for each row", by_row));
  return make_packed<Fp8Weight>(weight, TRY(find_floats(files, by_row, shape)),
                                Blocks{count == 1 ? rows : 1, width});
}

// Of compressed-tensors only what is plain FP8.
Result<void> check_groups(const JsonObject& settings) {
  const std::string format = TRY(get_string(settings, "format")).value_or("float-quantized");
  if (format != "float-quantized" && format != "naive-quantized")
    return unsupported(fmt::format("weights in the compressed-tensors format '{}'", format));
  return {};
}

}  // namespace

Result<PackedWeights> find_fp8_weights(const TensorFiles& files, const JsonObject& settings) {
  const Blocks blocks = TRY(read_blocks(settings));
  TRY(check_groups(settings));
  PackedWeights found;
  for (const std::string& name : files.names()) {
    const auto info = files.describe(name);
    if (!info.ok() || info->dtype != DType::f8_e4m3) continue;
    found.add(name, TRY(make_weight(files, name, blocks)),
              {name, name + "_scale_inv", name + "_scale"});
    constexpr std::string_view kWeight = "weight";
    if (!name.ends_with(kWeight)) continue;
    const std::string module = name.substr(0, name.size() - kWeight.size());
    for (const char* part : {"input_scale", "output_scale"}) found.parts.insert(module + part);
  }
  return found;
}

}  // namespace exo
