// BlockManager: which KV block belongs to which sequence. Integers only; the memory is KvCache's.
// The head's Scheduler plans with one, every stage's engine obeys with its own, and because both
// follow the same commands they never disagree about room. Blocks of a shared prefix are counted,
// never copied: only whole blocks are shared, and a shared block is never written again.
//
// One thread. A request that breaks the rules (a gap, a shared block, no room) changes nothing and
// is an Error: on later stages it comes from another machine.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/batch.h"

namespace exo {

class BlockManager {
 public:
  BlockManager(int block_count, int block_size);

  // Room for positions [first_position, first_position + count). `taken`, when given, receives the
  // blocks that are new to the sequence.
  Result<void> write(SessionId session, int first_position, int count,
                     std::vector<int32_t>* taken = nullptr);
  Result<void> apply(const CacheCommand& command);
  void trim(SessionId session, int length);
  void release(SessionId session);
  // `to` must be new; `length` whole blocks that `from` holds.
  Result<void> share(SessionId from, SessionId to, int length);

  // Position p of the sequence lies in blocks()[p / block_size()]. Empty when unknown. Valid until
  // the next change.
  std::span<const int32_t> blocks(SessionId session) const;
  int length(SessionId session) const;
  // Blocks at or after `length` that nobody else holds: what a release would free beyond it.
  int unshared_blocks(SessionId session, int length) const;
  int sequences() const { return static_cast<int>(tables_.size()); }
  int block_size() const { return block_size_; }
  int block_count() const { return static_cast<int>(references_.size()); }
  int free_blocks() const { return static_cast<int>(free_.size()); }
  int blocks_for(int length) const { return (length + block_size_ - 1) / block_size_; }

 private:
  struct Table {
    std::vector<int32_t> blocks;
    int length = 0;  // positions
  };
  void drop(int32_t block);

  int block_size_;
  std::vector<int> references_;  // per block; 0 = free
  std::vector<int32_t> free_;    // the next one to take is the last
  std::unordered_map<SessionId, Table> tables_;
};

}  // namespace exo
