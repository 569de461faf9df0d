// Architecture: one family of networks as a table of functions. A file src/model/arch/<family>.cpp
// defines `const Architecture& arch_<family>()`; CMake finds it by its name, nothing else is
// touched. No family asks where it runs: the decoder calls embed on the first shard, layer for the
// layers of this shard, head on the last.
//
// Immutable, thread-safe. Parsing refuses by name what it does not know: a model is run as its
// config says, or not at all.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "model/config.h"
#include "tensor/tensor_files.h"

namespace exo {

class KvCache;
class Weights;
struct GgufForm;

// Which shard needs a tensor.
enum class Part { embedding, layer, head };
// How ranks of one layer divide a tensor: none of it, its outputs (rows) or its inputs (columns).
enum class SplitAxis { none, rows, columns };

struct WeightSpec {
  Part part = Part::layer;
  int layer = 0;  // of Part::layer
  int slot = 0;   // the family's own number for it
  std::string name;
  Shape shape;
  SplitAxis split = SplitAxis::none;
  // Where `shape` is only a part of what the file holds under `name`: the file's shape, and the row
  // the part begins at, counting all dimensions but the last as rows (a fused projection's share,
  // one expert of a stack [experts, m, k]). A row may be several of the file's, one after another.
  Shape stored = {};
  int64_t row_begin = 0;
  bool made = false;                          // by the family's `read`, from the tensor `name`
  bool as_stored = false;                     // never quantised when it is loaded
  bool optional = false;                      // declared, but some checkpoints go without
  std::vector<std::string> other_names = {};  // that some checkpoints have instead of `name`
  float offset = 0;  // added to every element (vectors only): Gemma stores its norms less one
};

// What a step has at hand. Rows of all entries lie one after another.
struct StepContext {
  const Config& config;
  const Weights& weights;
  Ops& ops;
  KvCache& kv;
  std::span<const int32_t> positions;  // [n]
  std::span<const AttentionSpan> spans;
};

// The same for an encoder: rows see all of their span, nothing is kept.
struct EncodeContext {
  const Config& config;
  const Weights& weights;
  Ops& ops;
  std::span<const int32_t> positions;    // [n], from 0 in each span
  std::span<const int32_t> token_types;  // [n]
  std::span<const RowSpan> spans;        // one for each sequence
};

// A family has embed, layer and head, or is an encoder and has encode and pool.
struct Architecture {
  std::string_view family;                       // the file's name
  std::span<const std::string_view> names;       // in config.json: "LlamaForCausalLM"
  std::span<const std::string_view> gguf_names;  // general.architecture: "llama"

  Result<Config> (*parse_config)(const JsonObject& config);
  Result<Config> (*parse_gguf)(const JsonObject& metadata, const TensorFiles& tensors);
  std::vector<WeightSpec> (*declare)(const Config& config);         // every tensor that is used
  bool (*may_ignore)(const Config& config, std::string_view name);  // tensors known not to matter
  KvSpec (*kv)(const Config& config, int layer);

  Tensor (*embed)(const StepContext& step, std::span<const TokenId> ids);  // -> [n, hidden]
  Tensor (*layer)(const StepContext& step, int layer, const Tensor& x);    // [n, hidden] -> same
  Tensor (*head)(const StepContext& step, const Tensor& x);  // [m, hidden] -> [m, vocab]

  // A weight that no file holds as it is used (WeightSpec::made); null where there is none.
  Result<HostTensor> (*read)(const WeightSpec& spec, const Config& config,
                             const TensorFiles& files) = nullptr;
  // The network as GGUF describes it (model/gguf_form.h), from its config.json; null where it
  // cannot.
  Result<GgufForm> (*to_gguf)(const Config& config, const JsonObject& json) = nullptr;

  // Encoders only.
  Tensor (*encode)(const EncodeContext& step,
                   std::span<const TokenId> ids) = nullptr;  // -> [n, hidden]
  Tensor (*pool)(const EncodeContext& step,
                 const Tensor& x) = nullptr;  // first rows [m, hidden] -> [m, hidden]
};

std::span<const Architecture* const> architectures();
inline bool is_encoder(const Architecture& architecture) { return architecture.encode != nullptr; }
Error cannot_chat(std::string_view model);  // for whoever asks an embedding model to
bool runs_family(std::string_view family);
// By the names config.json and GGUF use; unsupported names what is known.
Result<const Architecture*> find_architecture(std::string_view name);
Result<const Architecture*> find_gguf_architecture(std::string_view name);

}  // namespace exo
