#include "download/store_keeper.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace exo {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kCommitEveryMs = 1000;
constexpr uint64_t kHashBytesPerTurn = 8u << 20;  // between two looks at whether to go on
constexpr uint64_t kMostOfferedBytes = 16u << 20;
constexpr auto kHashTurn = milliseconds(5);  // without anything to hash
constexpr auto kStoreTurn = milliseconds(20);

}  // namespace

StoreKeeper::StoreKeeper(const Files& files, World& world, uint64_t commit_bytes)
    : files_(files),
      world_(world),
      commit_bytes_(commit_bytes),
      failures_(files.size()),
      offered_(files.size()) {
  hasher_ = std::thread([this] { hash(); });
  storer_ = std::thread([this] { store(); });
}

StoreKeeper::~StoreKeeper() {
  abandon();
  hasher_.join();
  storer_.join();
}

void StoreKeeper::offer(size_t file, uint64_t offset, std::string bytes) {
  Block block{offset, std::move(bytes)};
  const bool in_order = files_[file].writer->held().prefix_end() >= block.end();
  const std::lock_guard lock(mutex_);
  auto& blocks = offered_[file];
  if (!files_[file].becomes_whole || !in_order ||
      (!blocks.empty() && blocks.back().end() != offset) ||
      offered_bytes_ + block.bytes.capacity() > kMostOfferedBytes)
    return keep_spare(std::move(block));
  offered_bytes_ += block.bytes.capacity();
  blocks.push_back(std::move(block));
}

void StoreKeeper::close() {
  const std::lock_guard lock(mutex_);
  closing_ = true;
  wake_.notify_all();
}

void StoreKeeper::abandon() {
  abandoned_ = true;
  close();
}

bool StoreKeeper::wait(int timeout_ms) {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, milliseconds(timeout_ms), [&] { return over_; });
}

Result<void> StoreKeeper::error() const {
  const std::lock_guard lock(mutex_);
  for (const auto& failure : failures_)
    if (failure) return *failure;
  return {};
}

void StoreKeeper::note_failure(size_t file, Error error) {
  const std::lock_guard lock(mutex_);
  failures_[file] = std::move(error);
}

bool StoreKeeper::failed(size_t file) const {
  const std::lock_guard lock(mutex_);
  return failures_[file].has_value();
}

// The next bytes, from memory where they were offered. How many it were.
Result<uint64_t> StoreKeeper::hash_some(size_t file) {
  SparseWriter& writer = *files_[file].writer;
  const uint64_t hashed = writer.hashed_bytes();
  std::optional<Block> block;
  uint64_t before_block = kHashBytesPerTurn;
  {
    const std::lock_guard lock(mutex_);
    auto& blocks = offered_[file];
    while (!block && !blocks.empty() && blocks.front().offset <= hashed) {
      offered_bytes_ -= blocks.front().bytes.capacity();
      if (blocks.front().end() > hashed)
        block = std::move(blocks.front());
      else
        keep_spare(std::move(blocks.front()));
      blocks.pop_front();
    }
    if (!blocks.empty()) before_block = std::min(before_block, blocks.front().offset - hashed);
  }
  if (!block) return writer.hash_some(before_block);
  writer.hash(std::string_view(block->bytes).substr(hashed - block->offset));
  const uint64_t end = block->end();
  const std::lock_guard lock(mutex_);
  keep_spare(std::move(*block));
  return end - hashed;
}

void StoreKeeper::keep_spare(Block block) {
  block.bytes.clear();
  spare_blocks_.push_back(std::move(block.bytes));
}

std::string StoreKeeper::spare_block() {
  const std::lock_guard lock(mutex_);
  if (spare_blocks_.empty()) return {};
  std::string block = std::move(spare_blocks_.back());
  spare_blocks_.pop_back();
  return block;
}

void StoreKeeper::hash() {
  set_thread_name("exo-hash");
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kHashTurn, [&] { return closing_; });
      last = closing_;
    }
    for (bool more = true; more && !abandoned_;) {
      more = false;
      for (size_t i = 0; i < files_.size() && !abandoned_; ++i) {
        const SparseWriter& file = *files_[i].writer;
        if (failed(i) || file.all_hashed()) continue;
        if (!files_[i].becomes_whole && !file.all_written()) continue;
        const auto hashed = hash_some(i);
        if (!hashed.ok())
          note_failure(i, hashed.error());
        else
          more = more || *hashed > 0;
      }
    }
  }
  const std::lock_guard lock(mutex_);
  hash_over_ = true;
  wake_.notify_all();
}

void StoreKeeper::store() {
  set_thread_name("exo-store");
  int64_t committed_ms = 0;
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kStoreTurn, [&] { return hash_over_; });
      last = hash_over_;
    }
    const bool due = last || world_.now_ms() - committed_ms >= kCommitEveryMs;
    if (due) committed_ms = world_.now_ms();
    for (size_t i = 0; i < files_.size(); ++i) {
      SparseWriter& file = *files_[i].writer;
      if (file.complete() || failed(i)) continue;
      if (auto kept = keep(file, due); !kept.ok()) note_failure(i, kept.error());
    }
  }
  const std::lock_guard lock(mutex_);
  over_ = true;
  ended_.notify_all();
}

// A file that is all there is flushed at once: the rest of it is being hashed meanwhile.
Result<void> StoreKeeper::keep(SparseWriter& file, bool due) const {
  if (file.all_hashed()) return file.finish();
  if (due || file.all_written() || file.uncommitted_bytes() >= commit_bytes_) return file.commit();
  return {};
}

}  // namespace exo
