// PackedWeight: one weight matrix that a checkpoint's quantisation scheme stores over several
// tensors (packed numbers, scales, zero points), read row by row into a block format in which its
// values are exact, but for bfloat16 scales below 2^-17 and GPTQ with mixed groups, which go to
// float16. Used by quantized_files.cpp and the files of the schemes only. Immutable,
// thread-safe; keeps what it reads from alive.
#pragma once

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "tensor/tensor_files.h"

namespace exo {

class PackedWeight {
 public:
  explicit PackedWeight(TensorInfo info) : info_(std::move(info)) {}
  virtual ~PackedWeight() = default;
  const TensorInfo& info() const { return info_; }
  // Row `row`, counting all dimensions but the last as rows, in row_bytes(dtype, width) bytes.
  virtual Result<void> pack_row(int64_t row, std::byte* out) const = 0;

 protected:
  int64_t width() const { return info_.shape.back(); }

 private:
  TensorInfo info_;
};

using Packed = std::shared_ptr<const PackedWeight>;

struct PackedWeights {
  std::map<std::string, Packed, std::less<>> by_name;
  std::set<std::string, std::less<>> parts;  // tensors that only belong to one of them
  // The parts of each; some may not be there.
  std::map<std::string, std::vector<std::string>, std::less<>> made_of;

  void add(const std::string& name, Packed weight, std::vector<std::string> its_parts);
};

// The weights of each scheme. `settings` is what config.json says of it.
Result<PackedWeights> find_mlx_weights(const TensorFiles& files, const JsonObject& settings);
Result<PackedWeights> find_awq_weights(const TensorFiles& files, const JsonObject& settings);
Result<PackedWeights> find_gptq_weights(const TensorFiles& files, const JsonObject& settings);
Result<PackedWeights> find_fp8_weights(const TensorFiles& files, const JsonObject& settings);

template <class T, class... Args>
Packed make_packed(Args&&... args) {
  return std::make_shared<const T>(std::forward<Args>(args)...);
}

// One block of 32 numbers with their scale and, where the format has one, bias or zero point.
struct BlockParts {
  std::array<uint8_t, 32> quants;
  float scale = 0;
  float bias = 0;
};
// Into one of the block formats of these schemes. An Error when a number is beyond the format.
Result<void> put_block(DType dtype, const BlockParts& parts, std::byte* out);

// Elements of a small float tensor one by one, whatever its type.
class FloatReader {
 public:
  explicit FloatReader(HostTensor tensor) : tensor_(std::move(tensor)) {}
  float at(int64_t index) const;
  const HostTensor& tensor() const { return tensor_; }

 private:
  HostTensor tensor_;
};

// A tensor of 32-bit words (I32, U32).
class WordReader {
 public:
  explicit WordReader(HostTensor tensor) : tensor_(std::move(tensor)) {}
  uint32_t at(int64_t index) const {
    uint32_t word = 0;
    std::memcpy(&word, tensor_.bytes.data() + static_cast<size_t>(index) * sizeof word,
                sizeof word);
    return word;
  }

 private:
  HostTensor tensor_;
};

// `name` with a shape and a type of the kind asked for; errors name it.
Result<FloatReader> find_floats(const TensorFiles& files, const std::string& name,
                                const Shape& shape);
Result<WordReader> find_words(const TensorFiles& files, const std::string& name,
                              const Shape& shape);

}  // namespace exo
