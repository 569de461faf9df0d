// config.json of a model folder, and GGUF metadata: any bytes give a Config or an Error.
#include <cstdint>
#include <string_view>

#include "core/json.h"
#include "model/architecture.h"

namespace {

// A GGUF file whose only tensor is the embedding.
class OneTensor final : public exo::TensorFiles {
 public:
  std::vector<std::string> names() const override { return {"token_embd.weight"}; }
  bool contains(std::string_view name) const override { return name == "token_embd.weight"; }
  exo::Result<exo::TensorInfo> describe(std::string_view) const override {
    return exo::TensorInfo{exo::DType::f32, {32, 64}};
  }
  exo::Result<exo::HostTensor> find(std::string_view) const override {
    return exo::HostTensor{exo::DType::f32, {32, 64}, {}, nullptr};
  }
  exo::Result<std::vector<Place>> places(std::string_view) const override {
    return std::vector<Place>();
  }
  const exo::JsonObject& metadata() const override { return metadata_; }
  std::string header_digest() const override { return ""; }

 private:
  exo::JsonObject metadata_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 1 << 16) return 0;
  const auto json = exo::parse_json({reinterpret_cast<const char*>(data), size});
  if (!json.ok() || !json->is_object()) return 0;
  const OneTensor tensors;
  for (const exo::Architecture* architecture : exo::architectures()) {
    const auto config = architecture->parse_config(json->get_object());
    if (config.ok() && config->layer_count < 64) (void)architecture->declare(*config).size();
    if (architecture->parse_gguf != nullptr)
      (void)architecture->parse_gguf(json->get_object(), tensors).ok();
  }
  return 0;
}
