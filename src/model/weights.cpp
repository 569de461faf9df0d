#include "model/weights.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
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

// Beside a weight lie its bias and what a "made" one is read from: "x.down_proj" with
// "x.down_proj_blocks". What a quantised one is made of, TensorFiles::places() tells.
std::string_view stem(std::string_view name) { return name.substr(0, name.rfind('.')); }

// A bias that adds nothing, as some GPTQ checkpoints have for every matrix. One that is not on this
// device is judged where it is: it is fetched with the matrix it stands beside.
bool is_zero_bias(const std::string& name, const TensorFiles& files) {
  if (!name.ends_with(".bias")) return false;
  const auto tensor = files.find(name);
  const auto places = files.places(name);
  if (!tensor.ok() || !places.ok()) return false;
  for (const TensorFiles::Place& place : *places)
    if (!place.here) return true;
  return std::all_of(tensor->bytes.begin(), tensor->bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Result<TensorInfo> find_weight(const WeightSpec& spec, const TensorFiles& files) {
  if (spec.made && files.contains(spec.name + "_blocks"))
    return TensorInfo{DType::mxfp4, spec.shape};
  if (!files.contains(spec.name))
    return corrupt(
        fmt::format("the tensor '{}' is missing: is a file of the model missing?", spec.name));
  const TensorInfo found = TRY(files.describe(spec.name));
  if (spec.made) {
    const bool plain = traits(found.dtype).block_size == 1;
    return TensorInfo{plain ? found.dtype : DType::f32, spec.shape};
  }
  const Shape& stored = spec.stored.empty() ? spec.shape : spec.stored;
  if (found.shape != stored)
    return corrupt(fmt::format("the tensor '{}' has the shape [{}], but the config asks for [{}]",
                               spec.name, fmt::join(found.shape, ", "), fmt::join(stored, ", ")));
  if (!converts_to_f32(found.dtype))
    return unsupported(fmt::format(
        "the tensor '{}' is stored as {}, which is no kind of weight that is known here", spec.name,
        traits(found.dtype).name));
  return TensorInfo{found.dtype, spec.shape};
}

Result<HostTensor> read_weight(const WeightSpec& spec, const TensorFiles& files) {
  TRY(find_weight(spec, files));
  const Shape& stored = spec.stored.empty() ? spec.shape : spec.stored;
  CHECK(spec.shape.back() % stored.back() == 0, "a part of rows");
  const int64_t rows = HostTensor{.shape = spec.shape}.elements() / stored.back();
  HostTensor tensor = TRY(files.find_rows(spec.name, spec.row_begin, rows));
  tensor.shape = spec.shape;
  return spec.offset != 0 ? with_offset(tensor, spec.offset) : tensor;
}

const Tensor& Weights::at(const std::vector<Slots>& groups, int group, int slot) {
  CHECK(group >= 0 && group < static_cast<int>(groups.size()), "a layer of another shard");
  static const Tensor none;
  const Slots& slots = groups[static_cast<size_t>(group)];
  return slot < static_cast<int>(slots.size()) ? slots[static_cast<size_t>(slot)] : none;
}

std::vector<WeightSpec> declared_weights(const Architecture& architecture, const Config& config,
                                         const TensorFiles& files) {
  std::vector<WeightSpec> specs = architecture.declare(config);
  for (WeightSpec& spec : specs)
    for (const std::string& other : spec.other_names)
      if (!files.contains(spec.name) && files.contains(other)) spec.name = other;
  std::erase_if(
      specs, [&](const WeightSpec& spec) { return spec.optional && !files.contains(spec.name); });
  return specs;
}

Result<void> check_weights(const Architecture& architecture, const Config& config,
                           const TensorFiles& files) {
  std::set<std::string, std::less<>> declared;
  for (const WeightSpec& spec : declared_weights(architecture, config, files)) {
    TRY(find_weight(spec, files));
    declared.insert(spec.name);
  }
  for (const std::string& name : files.names())
    if (!declared.contains(name) && !architecture.may_ignore(config, name) &&
        !is_zero_bias(name, files))
      return unsupported(
          fmt::format("the tensor '{}' is not part of a {} model as it is known here", name,
                      architecture.family));
  return {};
}

std::vector<std::string> tensors_of_shard(const Architecture& architecture, const Config& config,
                                          const TensorFiles& files, const Shard& shard) {
  std::set<std::string, std::less<>> stems;
  for (const WeightSpec& spec : declared_weights(architecture, config, files))
    if (wanted(spec, shard)) stems.emplace(stem(spec.name));
  std::vector<std::string> all;
  for (const std::string& name : files.names())
    if (stems.contains(stem(name))) all.push_back(name);
  return all;
}

Result<HeldLayers> held_layers(const Architecture& architecture, const Config& config,
                               const TensorFiles& files) {
  std::set<std::string, std::less<>> missing;  // stems
  for (const std::string& name : files.names())
    for (const TensorFiles::Place& place : TRY(files.places(name)))
      if (!place.here) missing.emplace(stem(name));
  std::vector<bool> here(static_cast<size_t>(config.layer_count), true);
  HeldLayers held{{}, true, true};
  for (const WeightSpec& spec : declared_weights(architecture, config, files)) {
    if (!missing.contains(stem(spec.name))) continue;
    if (spec.part == Part::embedding) held.embedding = false;
    if (spec.part == Part::head) held.head = false;
    if (spec.part == Part::layer) here[static_cast<size_t>(spec.layer)] = false;
  }
  for (int layer = 0; layer < config.layer_count; ++layer)
    if (here[static_cast<size_t>(layer)]) held.append(layer);
  return held;
}

Result<void> check_here(const std::vector<std::string>& names, const TensorFiles& files) {
  for (const std::string& name : names) {
    for (const TensorFiles::Place& place : TRY(files.places(name)))
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
      const HostTensor host =
          TRY(spec.made ? architecture_.read(spec, config_, files_) : read_weight(spec, files_));
      auto tensor =
          backend_.upload_weight(host, spec.as_stored ? WeightFormat::as_stored : options_.format);
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
  for (const WeightSpec& spec : declared_weights(architecture, config, files))
    TRY(loader.add(spec));
  return loader.take();
}

}  // namespace exo
