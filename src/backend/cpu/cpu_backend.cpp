// The cpu backend: float weights as they are stored (in place where the file is mapped), weights in
// blocks interleaved for the kernels, f32 activations, KV in f16.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/interleave.h"
#include "backend/cpu/isa.h"
#include "backend/op_shapes.h"
#include "base/file.h"
#include "tensor/quantize.h"

namespace exo {
namespace cpu {
namespace {

class CpuBackend : public Backend {
 public:
  CpuBackend(const Kernels& kernels, const BackendOptions& options)
      : exact_(options.exact),
        scratch_folder_(options.scratch_folder),
        ops_(kernels, options.exact, options.threads, memory_) {}

  std::string_view name() const override { return "cpu"; }
  Ops& ops() override { return ops_; }
  void sync() override {}
  DType kv_dtype() const override { return exact_ ? DType::f32 : DType::f16; }
  uint64_t memory_used_bytes() const override { return memory_->used_bytes(); }

  Result<Tensor> upload_weight(const HostTensor& weight, WeightFormat format) override {
    TRY(shapes::check_weight(weight));
    const DType dtype = shapes::weight_dtype(weight, format);
    if (is_interleaved(dtype)) return interleaved(weight, dtype);
    const size_t alignment = dtype == DType::f32 ? alignof(float) : alignof(uint16_t);
    const bool aligned = reinterpret_cast<uintptr_t>(weight.bytes.data()) % alignment == 0;
    if (dtype == weight.dtype && aligned)
      return Tensor{dtype, weight.shape, CpuBuffer::mapped(memory_, weight.bytes, weight.owner)};
    Tensor tensor = TRY(allocate(dtype, weight.shape));
    if (dtype == weight.dtype)
      std::memcpy(buffer_of(tensor).mutable_data(), weight.bytes.data(), weight.bytes.size());
    else  // a vector
      to_f32(weight.dtype, weight.bytes.data(),
             {mutable_floats(tensor), static_cast<size_t>(weight.elements())});
    return tensor;
  }

  Result<Tensor> upload(std::span<const float> values, Shape shape) override {
    CHECK(static_cast<int64_t>(values.size()) == HostTensor{.shape = shape}.elements(),
          "upload: shape and values disagree");
    auto buffer = CpuBuffer::pooled(memory_, values.size_bytes());
    if (buffer == nullptr) return no_memory(values.size_bytes());
    std::copy(values.begin(), values.end(), buffer->as<float>());
    return Tensor{DType::f32, std::move(shape), std::move(buffer)};
  }

  Result<Tensor> allocate(DType dtype, Shape shape) override {
    const size_t bytes = row_bytes(dtype, HostTensor{.shape = shape}.elements());
    auto buffer = CpuBuffer::zeroed(memory_, bytes);
    if (buffer == nullptr) return no_memory(bytes);
    return Tensor{dtype, std::move(shape), std::move(buffer)};
  }

  void download(const Tensor& tensor, std::span<float> out) override {
    CHECK(tensor.dtype == DType::f32 &&
              static_cast<int64_t>(out.size()) == HostTensor{.shape = tensor.shape}.elements(),
          "download: f32, and sizes agree");
    std::copy_n(floats(tensor), out.size(), out.begin());
  }

 private:
  static Error no_memory(size_t bytes) {
    return resource_exhausted(fmt::format("no memory for {} MB", bytes >> 20));
  }

  Result<std::shared_ptr<CpuBuffer>> weight_memory(size_t size) {
    if (!scratch_folder_.empty()) {
      const auto scratch = TRY(ScratchMemory::create(scratch_folder_, size));
      return CpuBuffer::kept(memory_, scratch->bytes(), scratch);
    }
    auto buffer = CpuBuffer::for_weight(memory_, size);
    if (buffer == nullptr) return no_memory(size);
    return buffer;
  }

  // Two threads that reach a new huge page together would both fill one with zeros, and one would
  // be thrown away; so each page has its first visit from one thread.
  void touch(CpuBuffer& buffer) {
    const auto pages = static_cast<int64_t>((buffer.size_bytes() + kHugePage - 1) / kHugePage);
    ops_.threads().parallel_for(pages, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t page = begin; page < end; ++page)
        buffer.mutable_data()[static_cast<size_t>(page) * kHugePage] = std::byte{0};
    });
  }

  // Group by group, so that nothing but the file and the result is held.
  Result<Tensor> interleaved(const HostTensor& weight, DType dtype) {
    const int64_t width = weight.shape.back(), rows = weight.elements() / width;
    const int64_t groups = (rows + kGroupRows - 1) / kGroupRows;
    const int64_t group_bytes = kGroupRows * interleaved_row_bytes(dtype, width);
    const size_t from = row_bytes(weight.dtype, width), to = row_bytes(dtype, width);
    const auto size = static_cast<size_t>(groups * group_bytes);
    const auto buffer = TRY(weight_memory(size));
    touch(*buffer);
    const int64_t chunk = std::max<int64_t>(1, 65536 / (width * kGroupRows));
    ops_.threads().parallel_for(groups, chunk, [&](int64_t begin, int64_t end, int) {
      std::vector<std::byte> converted;
      for (int64_t group = begin; group < end; ++group) {
        const int64_t row = group * kGroupRows, count = std::min<int64_t>(kGroupRows, rows - row);
        const std::byte* stored = weight.bytes.data() + static_cast<size_t>(row) * from;
        if (dtype != weight.dtype) {
          converted.resize(static_cast<size_t>(count) * to);
          convert(weight.dtype, stored, dtype, converted.data(), count, width);
          stored = converted.data();
        }
        interleave_group(dtype, stored, count, width, buffer->mutable_data() + group * group_bytes);
      }
    });
    if (weight.in_file) drop_pages(weight.bytes);
    return Tensor{dtype, weight.shape, buffer};
  }

  static void convert(DType from, const std::byte* in, DType to, std::byte* out, int64_t rows,
                      int64_t width) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t i = 0; i < rows; ++i) {
      to_f32(from, in, row);
      from_f32(to, row, out);
      in += row_bytes(from, width);
      out += row_bytes(to, width);
    }
  }

  const bool exact_;
  const std::filesystem::path scratch_folder_;
  std::shared_ptr<MemoryPool> memory_ = std::make_shared<MemoryPool>();
  CpuOps ops_;
};

Result<std::unique_ptr<Backend>> make_cpu(const BackendOptions& options) {
  const Kernels kernels = TRY(choose_kernels(options.isa));
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(kernels, options));
}

}  // namespace
}  // namespace cpu

const BackendFactory& backend_cpu() {
  static const BackendFactory factory{"cpu", true, cpu::make_cpu};
  return factory;
}

}  // namespace exo
