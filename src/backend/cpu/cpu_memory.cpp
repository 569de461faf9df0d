#include "backend/cpu/cpu_memory.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace exo::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr uint64_t kCacheLimit = 64u << 20;  // bytes kept for the next step

// Eight classes for each power of two: at most an eighth is wasted.
size_t size_class(size_t size_bytes) {
  if (size_bytes <= 4096) return 4096;
  const size_t step = std::bit_floor(size_bytes) / 8;
  return (size_bytes + step - 1) / step * step;
}

}  // namespace

MemoryPool::~MemoryPool() {
  for (auto& [size, list] : free_)
    for (std::byte* memory : list) std::free(memory);
}

std::byte* MemoryPool::take(size_t size_bytes) {
  const size_t size = size_class(size_bytes);
  {
    std::unique_lock lock(mutex_);
    const auto found = free_.find(size);
    if (found != free_.end() && !found->second.empty()) {
      std::byte* memory = found->second.back();
      found->second.pop_back();
      cached_bytes_ -= size;
      return memory;
    }
  }
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
  if (memory != nullptr) count(static_cast<int64_t>(size));
  return memory;
}

void MemoryPool::give_back(std::byte* memory, size_t size_bytes) {
  const size_t size = size_class(size_bytes);
  std::unique_lock lock(mutex_);
  if (cached_bytes_ + size <= kCacheLimit) {
    cached_bytes_ += size;
    free_[size].push_back(memory);
    return;
  }
  used_bytes_ -= size;
  lock.unlock();
  std::free(memory);
}

void MemoryPool::count(int64_t bytes) {
  std::unique_lock lock(mutex_);
  used_bytes_ += static_cast<uint64_t>(bytes);
}

uint64_t MemoryPool::used_bytes() const {
  std::unique_lock lock(mutex_);
  return used_bytes_;
}

CpuBuffer::CpuBuffer(Kind kind, std::shared_ptr<MemoryPool> pool, const std::byte* data,
                     size_t size_bytes)
    : kind_(kind), pool_(std::move(pool)), data_(data), size_bytes_(size_bytes) {
  if (kind_ != Kind::pooled) pool_->count(static_cast<int64_t>(size_bytes_));
}

CpuBuffer::~CpuBuffer() {
  if (kind_ == Kind::pooled) {
    pool_->give_back(const_cast<std::byte*>(data_), size_bytes_);
    return;
  }
  pool_->count(-static_cast<int64_t>(size_bytes_));
}

std::byte* CpuBuffer::mutable_data() {
  CHECK(kind_ != Kind::mapped, "a mapped weight is read-only");
  return const_cast<std::byte*>(data_);
}

std::shared_ptr<CpuBuffer> CpuBuffer::pooled(std::shared_ptr<MemoryPool> pool, size_t size_bytes) {
  std::byte* memory = pool->take(size_bytes);
  if (memory == nullptr) return nullptr;
  return std::shared_ptr<CpuBuffer>(
      new CpuBuffer(Kind::pooled, std::move(pool), memory, size_bytes));
}

std::shared_ptr<CpuBuffer> CpuBuffer::zeroed(std::shared_ptr<MemoryPool> pool, size_t size_bytes) {
  // calloc, not aligned_alloc and memset: large blocks come as untouched zero pages.
  void* memory = std::calloc(1, size_bytes + kAlignment);
  if (memory == nullptr) return nullptr;
  const std::shared_ptr<void> owner(memory, &std::free);
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const auto* data = static_cast<const std::byte*>(memory) +
                     ((address + kAlignment - 1) / kAlignment * kAlignment - address);
  std::shared_ptr<CpuBuffer> buffer(new CpuBuffer(Kind::owned, std::move(pool), data, size_bytes));
  buffer->owner_ = owner;
  return buffer;
}

// Begins at a huge page and ends where it ends: what is left over stays in small pages, so that no
// memory is wasted on it.
std::shared_ptr<CpuBuffer> CpuBuffer::for_weight(std::shared_ptr<MemoryPool> pool,
                                                 size_t size_bytes) {
  if (size_bytes < kHugePage) return zeroed(std::move(pool), size_bytes);
  const size_t mapped_bytes = size_bytes + kHugePage;
  void* mapped =
      ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const std::shared_ptr<void> owner(mapped, [mapped_bytes](void* p) { ::munmap(p, mapped_bytes); });
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  auto* data = static_cast<std::byte*>(mapped) +
               ((address + kHugePage - 1) / kHugePage * kHugePage - address);
#ifdef MADV_HUGEPAGE
  ::madvise(data, size_bytes, MADV_HUGEPAGE);  // refused: small pages do too
#endif
  return kept(std::move(pool), {data, size_bytes}, owner);
}

std::shared_ptr<CpuBuffer> CpuBuffer::kept(std::shared_ptr<MemoryPool> pool,
                                           std::span<std::byte> bytes,
                                           std::shared_ptr<const void> owner) {
  std::shared_ptr<CpuBuffer> buffer(
      new CpuBuffer(Kind::owned, std::move(pool), bytes.data(), bytes.size()));
  buffer->owner_ = std::move(owner);
  return buffer;
}

std::shared_ptr<CpuBuffer> CpuBuffer::mapped(std::shared_ptr<MemoryPool> pool,
                                             std::span<const std::byte> bytes,
                                             std::shared_ptr<const void> owner) {
  std::shared_ptr<CpuBuffer> buffer(
      new CpuBuffer(Kind::mapped, std::move(pool), bytes.data(), bytes.size()));
  buffer->owner_ = std::move(owner);
  return buffer;
}

}  // namespace exo::cpu
