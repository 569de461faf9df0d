// Weights: the tensors of one shard on one backend. Loading touches only what the shard needs and
// checks names and shapes of the whole checkpoint first, so that a wrong one is refused before
// memory is spent. Immutable after loading; used by the backend's thread.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "core/held_model.h"
#include "core/shard.h"
#include "model/architecture.h"

namespace exo {

class Weights {
 public:
  // Handles of the family's own slot numbers; empty when the model has no such tensor.
  const Tensor& layer(int layer, int slot) const { return at(layers_, layer - layer_begin_, slot); }
  const Tensor& embedding(int slot) const { return at(ends_, 0, slot); }
  const Tensor& head(int slot) const { return at(ends_, 1, slot); }
  // For biases: nullptr when there is none.
  const Tensor* layer_or_null(int layer, int slot) const {
    const Tensor& tensor = this->layer(layer, slot);
    return tensor.empty() ? nullptr : &tensor;
  }

 private:
  friend class WeightLoader;
  using Slots = std::vector<Tensor>;
  static const Tensor& at(const std::vector<Slots>& groups, int group, int slot);

  int layer_begin_ = 0;
  std::vector<Slots> layers_;   // [layers of the shard][slot]
  std::vector<Slots> ends_{2};  // embedding, head
};

// What the family declares, by the names that these files use, without optional tensors that they
// do not hold.
std::vector<WeightSpec> declared_weights(const Architecture& architecture, const Config& config,
                                         const TensorFiles& files);

// Every declared tensor is there with its shape and can be read, and none is there that the family
// does not know.
Result<void> check_weights(const Architecture& architecture, const Config& config,
                           const TensorFiles& files);

// What `spec` names in the files, with its shape checked: the type and shape it will have. Nothing
// is read but headers.
Result<TensorInfo> find_weight(const WeightSpec& spec, const TensorFiles& files);
// The same as it is loaded, with its offset. Not for weights that are made.
Result<HostTensor> read_weight(const WeightSpec& spec, const TensorFiles& files);

// The names in `files` of all that this shard loads; TensorFiles::places() says where they lie.
std::vector<std::string> tensors_of_shard(const Architecture& architecture, const Config& config,
                                          const TensorFiles& files, const Shard& shard);

// The layers of which all that a shard with them loads is on this device.
Result<HeldLayers> held_layers(const Architecture& architecture, const Config& config,
                               const TensorFiles& files);

// An error that names the first one whose bytes are not on this device.
Result<void> check_here(const std::vector<std::string>& names, const TensorFiles& files);

struct WeightOptions {
  Shard shard;
  WeightFormat format = WeightFormat::as_stored;
};
Result<Weights> load_weights(const Architecture& architecture, const Config& config,
                             const TensorFiles& files, Backend& backend,
                             const WeightOptions& options);

}  // namespace exo
