// TensorFiles: the tensors of a checkpoint by name, whatever the file format. Opening reads headers
// only and checks every size and offset against the file; bytes are mapped and touched only when a
// tensor is used. Immutable after open, thread-safe. Errors name the file, the tensor and what is
// wrong.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "tensor/host_tensor.h"
#include "tensor/range_set.h"

namespace exo {

struct TensorInfo {
  DType dtype = DType::f32;
  Shape shape;  // outermost first
};

class TensorFiles {
 public:
  virtual ~TensorFiles() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  virtual Result<TensorInfo> describe(std::string_view name) const = 0;  // not_found names it
  virtual Result<HostTensor> find(std::string_view name) const = 0;      // the same
  // `count` rows from `begin`, counting all dimensions but the last as rows: [count, width].
  virtual Result<HostTensor> find_rows(std::string_view name, int64_t begin, int64_t count) const;
  virtual const JsonObject& metadata() const = 0;  // GGUF keys; empty for safetensors
  virtual std::string header_digest()
      const = 0;  // hex SHA-256 over all headers (names, dtypes, shapes, offsets)
  // Where the bytes lie that find() reads: of a weight that is made of several stored tensors, each
  // of these. Of a file that is only partly on this device (sparse_file.h) they may be missing:
  // `here` says so, and what find() gives must not be read then.
  struct Place {
    std::filesystem::path file;  // its own name, without ".partial"
    ByteRange bytes;
    bool here = true;
  };
  virtual Result<std::vector<Place>> places(std::string_view name) const = 0;
};

// Of each, NAME.partial serves where NAME is not there.
// Folder with model.safetensors, or model.safetensors.index.json and its shards.
Result<std::shared_ptr<const TensorFiles>> open_safetensors(const std::filesystem::path& folder);
Result<std::shared_ptr<const TensorFiles>> open_safetensors_file(const std::filesystem::path& file);
// One file, or any part of a split one, which finds the others beside it (names stay llama.cpp's;
// architectures map them), and perhaps a second that completes it: the vision tower of its model,
// whose tensors and "clip." keys are added.
Result<std::shared_ptr<const TensorFiles>> open_gguf(const std::filesystem::path& file,
                                                     const std::filesystem::path& tower = {});

// "BASE-00002-of-00005.gguf": how the parts of a split GGUF are called.
struct GgufPartName {
  std::string base;
  int part = 1;  // from 1
  int count = 1;
};
std::optional<GgufPartName> parse_gguf_part_name(std::string_view file_name);
std::string gguf_part_name(const GgufPartName& name);

}  // namespace exo
