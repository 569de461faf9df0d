// TensorFiles: the tensors of a checkpoint by name, whatever the file format. Opening reads headers
// only and checks every size and offset against the file; bytes are mapped and touched only when a
// tensor is used. Immutable after open, thread-safe. Errors name the file, the tensor and what is
// wrong.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "tensor/host_tensor.h"
#include "tensor/range_set.h"

namespace exo {

class TensorFiles {
 public:
  virtual ~TensorFiles() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual bool contains(std::string_view name) const = 0;
  virtual Result<HostTensor> find(std::string_view name) const = 0;  // not_found names the tensor
  virtual const JsonObject& metadata() const = 0;  // GGUF keys; empty for safetensors
  virtual std::string header_digest()
      const = 0;  // hex SHA-256 over all headers (names, dtypes, shapes, offsets)
  // Where the tensor's bytes lie. Of a file that is only partly on this device (sparse_file.h) they
  // may be missing: `here` says so, and what find() gives must not be read then.
  struct Place {
    std::filesystem::path file;  // its own name, without ".partial"
    ByteRange bytes;
    bool here = true;
  };
  virtual Result<Place> place(std::string_view name) const = 0;
};

// Of each, NAME.partial serves where NAME is not there.
// Folder with model.safetensors, or model.safetensors.index.json and its shards.
Result<std::shared_ptr<const TensorFiles>> open_safetensors(const std::filesystem::path& folder);
// One file. (Names stay llama.cpp's; architectures map them.)
Result<std::shared_ptr<const TensorFiles>> open_safetensors_file(const std::filesystem::path& file);
Result<std::shared_ptr<const TensorFiles>> open_gguf(const std::filesystem::path& file);

}  // namespace exo
