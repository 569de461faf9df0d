// Quantised checkpoints: a line of config.json, then a safetensors file. Whatever opens can be
// read.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "tensor/quantize.h"
#include "tensor/quantized_files.h"
#include "tensor/tensor_index.h"

namespace {

class MemoryFiles final : public exo::TensorFiles {
 public:
  MemoryFiles(std::vector<std::byte> bytes, exo::TensorIndex index)
      : bytes_(std::move(bytes)), index_(std::move(index)) {}
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const exo::TensorEntry& entry : index_.entries) all.push_back(entry.name);
    return all;
  }
  bool contains(std::string_view name) const override {
    return index_.by_name.contains(std::string(name));
  }
  exo::Result<exo::TensorInfo> describe(std::string_view name) const override {
    const exo::HostTensor tensor = TRY(find(name));
    return exo::TensorInfo{tensor.dtype, tensor.shape};
  }
  exo::Result<exo::HostTensor> find(std::string_view name) const override {
    const auto found = index_.by_name.find(std::string(name));
    if (found == index_.by_name.end()) return exo::not_found("no such tensor");
    const exo::TensorEntry& entry = index_.entries[found->second];
    if (!entry.dtype) return exo::unsupported("no such type");
    return exo::HostTensor{*entry.dtype, entry.shape,
                           std::span(bytes_).subspan(entry.begin, entry.end - entry.begin),
                           nullptr};
  }
  exo::Result<std::vector<Place>> places(std::string_view) const override {
    return std::vector<Place>();
  }
  const exo::JsonObject& metadata() const override { return index_.metadata; }
  std::string header_digest() const override { return ""; }

 private:
  std::vector<std::byte> bytes_;
  exo::TensorIndex index_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* line_end = static_cast<const uint8_t*>(std::memchr(data, '\n', size));
  if (size == 0 || line_end == nullptr) return 0;
  const auto config =
      exo::parse_json({reinterpret_cast<const char*>(data), static_cast<size_t>(line_end - data)});
  if (!config.ok() || !config->is_object()) return 0;
  const auto whole = std::as_bytes(std::span(data, size));
  const auto file = whole.subspan(static_cast<size_t>(line_end + 1 - data));
  auto index = exo::parse_safetensors(file);
  if (!index.ok()) return 0;
  auto files = std::make_shared<MemoryFiles>(std::vector(file.begin(), file.end()),
                                             std::move(index).value());
  const auto opened = exo::open_quantized(std::move(files), config->get_object());
  if (!opened.ok()) return 0;
  for (const std::string& name : (*opened)->names()) {
    const auto tensor = (*opened)->find(name);
    if (!tensor.ok() || !exo::converts_to_f32(tensor->dtype) || tensor->elements() > 1 << 16)
      continue;
    if (tensor->bytes.size() != exo::row_bytes(tensor->dtype, tensor->elements())) __builtin_trap();
    std::vector<float> values(static_cast<size_t>(tensor->elements()));
    if (!values.empty()) exo::to_f32(tensor->dtype, tensor->bytes.data(), values);
  }
  return 0;
}
