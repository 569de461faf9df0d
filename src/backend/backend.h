// Backend: one kind of device that crunches numbers. It owns the memory of its Tensors and offers
// Ops on them. Ops enqueue; only upload, download and sync touch the host. One thread at a time may
// use a Backend; it may run its own threads inside. Loading can fail for lack of memory (Result);
// ops on valid tensors cannot fail. A backend is a folder that defines `const BackendFactory&
// backend_<folder>()`; CMake finds it by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/placement.h"
#include "tensor/host_tensor.h"

namespace exo {

// Device memory; derived by each backend.
class Buffer {
 public:
  virtual ~Buffer() = default;
};

// A handle. Copies share the buffer. Activations are f32, row-major, outermost dimension first.
struct Tensor {
  DType dtype = DType::f32;
  Shape shape;
  std::shared_ptr<Buffer> buffer;

  bool empty() const { return buffer == nullptr; }
  int64_t rows() const { return shape.empty() ? 0 : shape.front(); }
  int64_t width() const { return shape.empty() ? 0 : shape.back(); }
};

struct BackendOptions {
  int threads = 0;     // 0 = the machine's cores
  bool exact = false;  // float32 arithmetic everywhere, activations never quantised, f32 KV
  // Where weights that are laid out anew may lie on disk, for shards larger than memory; empty:
  // none do.
  std::filesystem::path scratch_folder;
  std::string isa;  // cpu: force an instruction set level ("scalar", "avx2" ...); empty = best
};

class Ops;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual Ops& ops() = 0;

  // A weight matrix [m, k] or vector, converted to `format` (matrices only) and laid out as the
  // backend's kernels like it.
  virtual Result<Tensor> upload_weight(const HostTensor& weight, WeightFormat format) = 0;
  virtual Result<Tensor> upload(std::span<const float> values, Shape shape) = 0;  // f32 activations
  virtual Result<Tensor> allocate(DType dtype, Shape shape) = 0;  // zeroed, e.g. KV blocks
  virtual void download(const Tensor& tensor,
                        std::span<float> out) = 0;  // f32 tensors; waits for the ops before
  virtual void sync() = 0;

  virtual DType kv_dtype()
      const = 0;  // what this backend keeps keys and values in (f32 when exact)
  virtual uint64_t memory_used_bytes() const = 0;
};

struct BackendFactory {
  std::string_view name;  // "cpu", "reference", "null"
  bool for_users;         // may be chosen with --inference-engine
  Result<std::unique_ptr<Backend>> (*make)(const BackendOptions& options);
};

std::span<const BackendFactory* const> backend_factories();
Result<std::unique_ptr<Backend>> make_backend(std::string_view name, const BackendOptions& options);

}  // namespace exo
