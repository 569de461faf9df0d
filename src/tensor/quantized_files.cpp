#include "tensor/quantized_files.h"

#include <fmt/core.h>

#include "tensor/packed_weight.h"

namespace exo {
namespace {

class QuantizedFiles : public TensorFiles {
 public:
  QuantizedFiles(std::shared_ptr<const TensorFiles> files, PackedWeights weights)
      : files_(std::move(files)), weights_(std::move(weights)) {}

  std::vector<std::string> names() const override {
    std::set<std::string> all;
    for (std::string& name : files_->names())
      if (!weights_.parts.contains(name)) all.insert(std::move(name));
    for (const auto& [name, weight] : weights_.by_name) all.insert(name);
    return {all.begin(), all.end()};
  }
  bool contains(std::string_view name) const override {
    return weights_.by_name.contains(name) ||
           (!weights_.parts.contains(name) && files_->contains(name));
  }
  Result<TensorInfo> describe(std::string_view name) const override {
    const auto weight = weights_.by_name.find(name);
    return weight == weights_.by_name.end() ? files_->describe(name) : weight->second->info();
  }
  Result<HostTensor> find(std::string_view name) const override {
    const auto weight = weights_.by_name.find(name);
    if (weight == weights_.by_name.end()) return files_->find(name);
    const TensorInfo& info = weight->second->info();
    const int64_t rows = HostTensor{.shape = info.shape}.elements() / info.shape.back();
    HostTensor tensor = TRY(find_rows(name, 0, rows));
    tensor.shape = info.shape;
    return tensor;
  }
  Result<HostTensor> find_rows(std::string_view name, int64_t begin, int64_t count) const override {
    const auto weight = weights_.by_name.find(name);
    if (weight == weights_.by_name.end()) return files_->find_rows(name, begin, count);
    const TensorInfo& info = weight->second->info();
    const size_t row = row_bytes(info.dtype, info.shape.back());
    const auto bytes = std::make_shared<std::vector<std::byte>>(row * static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const auto packed =
          weight->second->pack_row(begin + i, bytes->data() + static_cast<size_t>(i) * row);
      if (!packed.ok()) return packed.error().in(fmt::format("the tensor '{}'", name));
    }
    return HostTensor{info.dtype, {count, info.shape.back()}, *bytes, bytes};
  }
  Result<std::vector<Place>> places(std::string_view name) const override {
    const auto made_of = weights_.made_of.find(name);
    if (made_of == weights_.made_of.end()) return files_->places(name);
    std::vector<Place> all;
    for (const std::string& part : made_of->second) {
      if (!files_->contains(part)) continue;
      for (Place& place : TRY(files_->places(part))) all.push_back(std::move(place));
    }
    return all;
  }
  const JsonObject& metadata() const override { return files_->metadata(); }
  std::string header_digest() const override { return files_->header_digest(); }

 private:
  std::shared_ptr<const TensorFiles> files_;
  PackedWeights weights_;
};

// MLX says "quantization" and writes a copy, without a method, for other readers.
Result<PackedWeights> find_weights(const TensorFiles& files, const JsonObject& config) {
  const JsonObject* mlx = TRY(get_object(config, "quantization"));
  const JsonObject* settings = TRY(get_object(config, "quantization_config"));
  if (mlx != nullptr) return find_mlx_weights(files, *mlx);
  if (settings == nullptr) return PackedWeights{};
  const std::string method = TRY(get_string(*settings, "quant_method")).value_or("");
  if (method == "mxfp4") return PackedWeights{};  // gpt-oss: each tensor says it by its name
  if (method == "awq") return find_awq_weights(files, *settings);
  if (method == "gptq") return find_gptq_weights(files, *settings);
  if (method == "fp8" || method == "compressed-tensors") return find_fp8_weights(files, *settings);
  if (method.empty() && settings->contains("bits")) return find_mlx_weights(files, *settings);
  return unsupported(
      fmt::format("weights quantised by '{}' cannot be read; take the model as bf16, FP8, MLX, "
                  "AWQ, GPTQ or GGUF",
                  method.empty() ? "(none)" : method));
}

}  // namespace

Result<std::shared_ptr<const TensorFiles>> open_quantized(std::shared_ptr<const TensorFiles> files,
                                                          const JsonObject& config) {
  PackedWeights weights = TRY(find_weights(*files, config));
  if (weights.by_name.empty()) return files;
  return std::shared_ptr<const TensorFiles>(
      std::make_shared<QuantizedFiles>(std::move(files), std::move(weights)));
}

}  // namespace exo
