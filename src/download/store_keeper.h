// StoreKeeper: what happens to the bytes of a download beside the thread that receives them. One
// thread flushes them and keeps the records, another one hashes each file as far as it lies in
// order, so that neither the network nor the disk nor the hash waits for the other two. What comes
// in order is hashed from memory, the rest is read back. A file of which every byte is there is
// proved by its hash and gets its name; one that stays a part is not hashed. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
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

  // Bytes that were just written there, all of them, to be hashed without reading them back. Where
  // they do not come in order, or hashing is far behind, they are not kept.
  void offer(size_t file, uint64_t offset, std::string bytes);
  // One that was offered and is done with, emptied; or none, empty all the same.
  std::string spare_block();
  // Nothing will be written any more: what is there is flushed, and every complete file proved.
  void close();
  // The same without hashing any further: what came is flushed. Also after close().
  void abandon();
  // Whether all of that is done; waits for it, but no longer than so.
  bool wait(int timeout_ms);
  Result<void> error() const;  // the first file that failed; the others are kept all the same

 private:
  struct Block {
    uint64_t offset = 0;
    std::string bytes;
    uint64_t end() const { return offset + bytes.size(); }
  };

  void hash();
  void store();
  Result<uint64_t> hash_some(size_t file);
  void keep_spare(Block block);  // with mutex_
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
  std::vector<std::deque<Block>> offered_;      // the same; each begins where the one before ends
  uint64_t offered_bytes_ = 0;                  // that all of them take, filled or not
  std::vector<std::string> spare_blocks_;
  std::thread hasher_, storer_;  // last: they use the rest
};

}  // namespace exo
