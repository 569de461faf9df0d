// Memory of the cpu backend. Activations come from a pool, so that a step does not go to the system
// for megabytes; weights may lie in a mapped file; KV blocks are zero pages until written. Buffers
// may be dropped on any thread and outlive the backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace exo::cpu {

constexpr size_t kHugePage = 2u << 20;  // bytes; what for_weight asks for

class MemoryPool {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  std::byte* take(size_t size_bytes);  // 64-byte aligned, undefined bytes; null without memory
  void give_back(std::byte* memory, size_t size_bytes);
  void count(int64_t bytes);  // memory held elsewhere: weights, KV
  uint64_t used_bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<std::byte*>> free_;  // by size class
  uint64_t cached_bytes_ = 0;                       // in free_
  uint64_t used_bytes_ = 0;                         // everything, free_ included
};

class CpuBuffer : public Buffer {
 public:
  enum class Kind { pooled, owned, mapped };
  // Null without memory.
  static std::shared_ptr<CpuBuffer> pooled(std::shared_ptr<MemoryPool> pool, size_t size_bytes);
  static std::shared_ptr<CpuBuffer> zeroed(std::shared_ptr<MemoryPool> pool, size_t size_bytes);
  // Zeroed, and in huge pages where the system has some: looking up small pages' addresses costs a
  // part of the speed at which weights can be read.
  static std::shared_ptr<CpuBuffer> for_weight(std::shared_ptr<MemoryPool> pool, size_t size_bytes);
  // Bytes that are ours to write and that `owner` keeps.
  static std::shared_ptr<CpuBuffer> kept(std::shared_ptr<MemoryPool> pool,
                                         std::span<std::byte> bytes,
                                         std::shared_ptr<const void> owner);
  // Bytes of somebody else, who lives as long as this buffer.
  static std::shared_ptr<CpuBuffer> mapped(std::shared_ptr<MemoryPool> pool,
                                           std::span<const std::byte> bytes,
                                           std::shared_ptr<const void> owner);
  ~CpuBuffer() override;
  CpuBuffer(const CpuBuffer&) = delete;
  CpuBuffer& operator=(const CpuBuffer&) = delete;

  const std::byte* data() const { return data_; }
  std::byte* mutable_data();  // not of a mapped buffer
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(mutable_data());
  }
  size_t size_bytes() const { return size_bytes_; }

 private:
  CpuBuffer(Kind kind, std::shared_ptr<MemoryPool> pool, const std::byte* data, size_t size_bytes);

  Kind kind_;
  std::shared_ptr<MemoryPool> pool_;
  std::shared_ptr<const void> owner_;
  const std::byte* data_;
  size_t size_bytes_;
};

inline CpuBuffer& buffer_of(const Tensor& tensor) {
  return static_cast<CpuBuffer&>(*tensor.buffer);
}
inline const float* floats(const Tensor& tensor) {
  return reinterpret_cast<const float*>(buffer_of(tensor).data());
}
inline float* mutable_floats(const Tensor& tensor) { return buffer_of(tensor).as<float>(); }

}  // namespace exo::cpu
