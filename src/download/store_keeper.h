// StoreKeeper: what happens to the bytes of a download beside the thread that receives them. One
// thread flushes them and keeps the records, another one hashes each file as far as it lies in
// order, so that neither the network nor the disk nor the hash waits for the other two. A file of
// which every byte is there is proved by its hash and gets its name; one that stays a part is not
// hashed. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/world.h"
#include "download/sparse_store.h"

namespace exo {

class StoreKeeper {
 public:
  struct File {
    std::unique_ptr<SparseWriter> writer;
    bool becomes_whole = false;  // with what is being fetched
  };
  using Files = std::vector<File>;

  // Borrows all three. A file is flushed after `commit_bytes`, or a second.
  StoreKeeper(const Files& files, World& world, uint64_t commit_bytes);
  ~StoreKeeper();  // abandons

  // Nothing will be written any more: what is there is flushed, and every complete file proved.
  void close();
  // The same without hashing any further: what came is flushed. Also after close().
  void abandon();
  // Whether all of that is done; waits for it, but no longer than so.
  bool wait(int timeout_ms);
  Result<void> error() const;  // the first file that failed; the others are kept all the same

 private:
  void hash();
  void store();
  Result<void> keep(SparseWriter& file, bool due) const;
  void note_failure(size_t file, Error error);
  bool failed(size_t file) const;

  const Files& files_;
  World& world_;
  const uint64_t commit_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable wake_, ended_;
  bool closing_ = false, hash_over_ = false, over_ = false;
  std::atomic<bool> abandoned_ = false;
  std::vector<std::optional<Error>> failures_;  // one per file
  std::thread hasher_, storer_;                 // last: they use the rest
};

}  // namespace exo
