#include "download/store_keeper.h"

#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace exo {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kCommitEveryMs = 1000;
constexpr uint64_t kHashBytesPerTurn = 8u << 20;  // between two looks at whether to go on
constexpr auto kHashTurn = milliseconds(5);       // without anything to hash
constexpr auto kStoreTurn = milliseconds(20);

}  // namespace

StoreKeeper::StoreKeeper(const Files& files, World& world, uint64_t commit_bytes)
    : files_(files), world_(world), commit_bytes_(commit_bytes), failures_(files.size()) {
  hasher_ = std::thread([this] { hash(); });
  storer_ = std::thread([this] { store(); });
}

StoreKeeper::~StoreKeeper() {
  abandon();
  hasher_.join();
  storer_.join();
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
        SparseWriter& file = *files_[i].writer;
        if (failed(i) || file.all_hashed()) continue;
        if (!files_[i].becomes_whole && !file.all_written()) continue;
        const auto hashed = file.hash_some(kHashBytesPerTurn);
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
