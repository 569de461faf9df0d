#include "model/weights.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "tensor/quantize.h"

namespace exo {
namespace {

bool wanted(const WeightSpec& spec, const Shard& shard) {
  switch (spec.part) {
    case Part::embedding:
      return shard.first();
    case Part::head:
      return shard.last();
    case Part::layer:
      return spec.layer >= shard.layer_begin && spec.layer < shard.layer_end;
  }
  return false;
}

// `vector` as float32 with `offset` added.
HostTensor with_offset(const HostTensor& vector, float offset) {
  const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(vector.elements()));
  to_f32(vector.dtype, vector.bytes.data(), *values);
  for (float& value : *values) value += offset;
  return {DType::f32, vector.shape, std::as_bytes(std::span(*values)), values};
}

// f8_e4m3 rows with their scales as f8_32: 9 bits a weight, and a format like any other. (Rows that
// are not whole blocks of 32, which no large matrix has, are widened.)
Result<HostTensor> with_block_scales(const HostTensor& weight, const WeightSpec& spec,
                                     const BlockScales& blocks, const TensorFiles& files) {
  const std::string name = spec.name + "_scale_inv";
  const int64_t width = weight.shape.back(), rows = weight.elements() / width;
  if (blocks.rows <= 0 || blocks.columns <= 0)
    return unsupported(fmt::format("'{}' is FP8 with blocks that are not known here", spec.name));
  const HostTensor stored = TRY(files.find(name));
  const Shape& whole = spec.stored.empty() ? spec.shape : spec.stored;
  const int64_t all_rows = HostTensor{.shape = whole}.elements() / width;
  const int64_t across = (width + blocks.columns - 1) / blocks.columns;
  if (stored.shape != Shape{(all_rows + blocks.rows - 1) / blocks.rows, across} ||
      !converts_to_f32(stored.dtype))
    return corrupt(fmt::format("'{}' is not one scale for each block of '{}'", name, spec.name));
  std::vector<float> scales(static_cast<size_t>(stored.elements()));
  to_f32(stored.dtype, stored.bytes.data(), scales);
  const auto line_of = [&](int64_t row) {
    return scales.data() + (spec.row_begin + row) / blocks.rows * across;
  };
  if (width % 32 != 0 || blocks.columns % 32 != 0) {
    const auto values = std::make_shared<std::vector<float>>();
    for (int64_t i = 0; i < rows * width; ++i)
      values->push_back(
          f8_e4m3_to_f32(std::to_integer<uint8_t>(weight.bytes[static_cast<size_t>(i)])) *
          line_of(i / width)[i % width / blocks.columns]);
    return HostTensor{DType::f32, weight.shape, std::as_bytes(std::span(*values)), values};
  }
  const auto packed =
      std::make_shared<std::vector<std::byte>>(row_bytes(DType::f8_32, weight.elements()));
  std::byte* out = packed->data();
  const std::byte* in = weight.bytes.data();
  for (int64_t row = 0; row < rows; ++row) {
    const float* line = line_of(row);
    for (int64_t column = 0; column < width; column += 32, in += 32, out += 36) {
      std::memcpy(out, line + column / blocks.columns, sizeof(float));
      std::memcpy(out + sizeof(float), in, 32);
    }
  }
  return HostTensor{DType::f8_32, weight.shape, *packed, packed};
}

}  // namespace

Result<HostTensor> find_weight(const WeightSpec& spec, const TensorFiles& files) {
  if (spec.made && files.contains(spec.name + "_blocks"))
    return HostTensor{DType::mxfp4, spec.shape, {}, nullptr};
  if (!files.contains(spec.name))
    return corrupt(
        fmt::format("the tensor '{}' is missing: is a file of the model missing?", spec.name));
  HostTensor tensor = TRY(files.find(spec.name));
  if (spec.made) {
    const bool plain = traits(tensor.dtype).block_size == 1 && tensor.dtype != DType::f8_e4m3;
    return HostTensor{plain ? tensor.dtype : DType::f32, spec.shape, {}, nullptr};
  }
  const Shape& stored = spec.stored.empty() ? spec.shape : spec.stored;
  if (tensor.shape != stored)
    return corrupt(fmt::format("the tensor '{}' has the shape [{}], but the config asks for [{}]",
                               spec.name, fmt::join(tensor.shape, ", "), fmt::join(stored, ", ")));
  if (spec.stored.empty()) return tensor;
  const size_t row = row_bytes(tensor.dtype, tensor.shape.back());
  const int64_t rows = HostTensor{.shape = spec.shape}.elements() / spec.shape.back();
  const size_t begin = static_cast<size_t>(spec.row_begin) * row;
  CHECK(spec.shape.back() == stored.back() &&
            begin + static_cast<size_t>(rows) * row <= tensor.bytes.size(),
        "a part outside its tensor");
  tensor.bytes = tensor.bytes.subspan(begin, static_cast<size_t>(rows) * row);
  tensor.shape = spec.shape;
  return tensor;
}

const Tensor& Weights::at(const std::vector<Slots>& groups, int group, int slot) {
  CHECK(group >= 0 && group < static_cast<int>(groups.size()), "a layer of another shard");
  static const Tensor none;
  const Slots& slots = groups[static_cast<size_t>(group)];
  return slot < static_cast<int>(slots.size()) ? slots[static_cast<size_t>(slot)] : none;
}

Result<HostTensor> read_weight(const WeightSpec& spec, const Config& config,
                               const TensorFiles& files) {
  const HostTensor host = TRY(find_weight(spec, files));
  if (host.dtype == DType::f8_e4m3) return with_block_scales(host, spec, config.scales, files);
  return spec.offset != 0 ? with_offset(host, spec.offset) : host;
}

bool is_scale_of(std::string_view name, const std::set<std::string, std::less<>>& declared) {
  constexpr std::string_view kSuffix = "_scale_inv";
  return name.ends_with(kSuffix) && declared.contains(name.substr(0, name.size() - kSuffix.size()));
}

Result<void> check_weights(const Architecture& architecture, const Config& config,
                           const TensorFiles& files) {
  std::set<std::string, std::less<>> declared;
  for (const WeightSpec& spec : architecture.declare(config)) {
    TRY(find_weight(spec, files));
    declared.insert(spec.name);
  }
  for (const std::string& name : files.names())
    if (!declared.contains(name) && !(config.scales.rows > 0 && is_scale_of(name, declared)) &&
        !architecture.may_ignore(config, name))
      return unsupported(
          fmt::format("the tensor '{}' is not part of a {} model as it is known here", name,
                      architecture.family));
  return {};
}

// What packs a weight lies beside it: "x.weight" with "x.scales", "x" with "x_blocks".
std::vector<std::string> tensors_of_shard(const Architecture& architecture, const Config& config,
                                          const TensorFiles& files, const Shard& shard) {
  const auto stem = [](std::string_view name) { return name.substr(0, name.rfind('.')); };
  std::set<std::string, std::less<>> stems;
  for (const WeightSpec& spec : architecture.declare(config))
    if (wanted(spec, shard)) stems.emplace(stem(spec.name));
  std::vector<std::string> all;
  for (const std::string& name : files.names())
    if (stems.contains(stem(name))) all.push_back(name);
  return all;
}

Result<void> check_here(const std::vector<std::string>& names, const TensorFiles& files) {
  for (const std::string& name : names) {
    const TensorFiles::Place place = TRY(files.place(name));
    if (!place.here)
      return unavailable(
          fmt::format("{}: '{}' is not on this device yet; fetch the model with `exo download`",
                      place.file.string(), name));
  }
  return {};
}

class WeightLoader {
 public:
  WeightLoader(const Architecture& architecture, const Config& config, const TensorFiles& files,
               Backend& backend, const WeightOptions& options)
      : architecture_(architecture),
        config_(config),
        files_(files),
        backend_(backend),
        options_(options) {
    weights_.layer_begin_ = options.shard.layer_begin;
    weights_.layers_.resize(static_cast<size_t>(options.shard.layers()));
  }

  Result<void> add(const WeightSpec& spec) {
    if (!wanted(spec, options_.shard)) return {};
    // A tied head on the shard that also embeds is the same memory.
    const std::tuple part(spec.name, spec.row_begin, spec.made ? spec.slot : -1);
    auto known = by_part_.find(part);
    if (known == by_part_.end()) {
      const HostTensor host = TRY(spec.made ? architecture_.read(spec, config_, files_)
                                            : read_weight(spec, config_, files_));
      auto tensor = backend_.upload_weight(host, options_.format);
      if (!tensor.ok()) return tensor.error().in(spec.name);
      known = by_part_.emplace(part, std::move(tensor).value()).first;
    }
    auto& group = spec.part == Part::layer
                      ? weights_.layers_[static_cast<size_t>(spec.layer - weights_.layer_begin_)]
                      : weights_.ends_[spec.part == Part::embedding ? 0 : 1];
    if (static_cast<int>(group.size()) <= spec.slot)
      group.resize(static_cast<size_t>(spec.slot) + 1);
    group[static_cast<size_t>(spec.slot)] = known->second;
    return {};
  }
  Weights take() { return std::move(weights_); }

 private:
  const Architecture& architecture_;
  const Config& config_;
  const TensorFiles& files_;
  Backend& backend_;
  const WeightOptions& options_;
  Weights weights_;
  std::map<std::tuple<std::string, int64_t, int>, Tensor> by_part_;
};

Result<Weights> load_weights(const Architecture& architecture, const Config& config,
                             const TensorFiles& files, Backend& backend,
                             const WeightOptions& options) {
  const Shard& shard = options.shard;
  if (shard.layer_begin < 0 || shard.layer_begin >= shard.layer_end ||
      shard.layer_end > config.layer_count || shard.layer_count != config.layer_count)
    return invalid_argument(fmt::format("the shard {}:{} of {} layers does not fit a model of {}",
                                        shard.layer_begin, shard.layer_end, shard.layer_count,
                                        config.layer_count));
  if (shard.rank != 0 || shard.world != 1)
    return unsupported("slices of layers (tensor parallelism) cannot be loaded");
  TRY(check_here(tensors_of_shard(architecture, config, files, shard), files));
  WeightLoader loader(architecture, config, files, backend, options);
  for (const WeightSpec& spec : architecture.declare(config)) TRY(loader.add(spec));
  return loader.take();
}

}  // namespace exo
