// TensorWriter: writes a GGUF or safetensors file of any size with little memory: the header first,
// from the plan of all tensors, then their bytes one after another. The file gets its name in
// finish() only. One thread. Errors name the file.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "core/json.h"
#include "tensor/tensor_files.h"

namespace exo {

struct PlannedTensor {
  std::string name;
  TensorInfo info;
  uint64_t size_bytes() const;
};

// Whether GGUF has this type.
bool gguf_holds(DType dtype);

class TensorWriter {
 public:
  // `metadata` as reading gives it: text, numbers (those without a point become u32, i32, u64 or
  // i64, the others f32), flags, and arrays of one of them.
  static Result<TensorWriter> create_gguf(const std::filesystem::path& path,
                                          const JsonObject& metadata,
                                          std::vector<PlannedTensor> plan);
  // `metadata` must map names to texts.
  static Result<TensorWriter> create_safetensors(const std::filesystem::path& path,
                                                 const JsonObject& metadata,
                                                 std::vector<PlannedTensor> plan);

  // The next bytes of the planned tensors, in their order; they may come in any pieces that do not
  // cross from one tensor to the next.
  Result<void> write(std::span<const std::byte> bytes);
  Result<void> finish();  // CHECKs that every tensor is whole
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t written_bytes() const { return file_.written(); }

 private:
  TensorWriter(PartialFile file, std::vector<PlannedTensor> plan, uint64_t alignment)
      : file_(std::move(file)), plan_(std::move(plan)), alignment_(alignment) {}
  static Result<TensorWriter> create(const std::filesystem::path& path, const std::string& header,
                                     std::vector<PlannedTensor> plan, uint64_t alignment);
  Result<void> pad();

  PartialFile file_;
  std::vector<PlannedTensor> plan_;
  uint64_t alignment_;
  uint64_t total_bytes_ = 0;
  size_t tensor_ = 0;          // that is being written
  uint64_t tensor_bytes_ = 0;  // of it so far
};

}  // namespace exo
