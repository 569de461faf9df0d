#include "inference/block_manager.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {

BlockManager::BlockManager(int block_count, int block_size)
    : block_size_(block_size), references_(static_cast<size_t>(std::max(block_count, 0)), 0) {
  CHECK(block_size > 0, "KV blocks hold at least one position");
  for (int block = this->block_count() - 1; block >= 0; --block) free_.push_back(block);
}

Result<void> BlockManager::write(SessionId session, int first_position, int count,
                                 std::vector<int32_t>* taken) {
  const auto found = tables_.find(session);
  const int length = found == tables_.end() ? 0 : found->second.length;
  if (first_position < 0 || count < 0 || first_position > length)
    return corrupt(fmt::format("a KV write of {} positions at {} leaves a gap: {} are held", count,
                               first_position, length));
  const int64_t end = static_cast<int64_t>(first_position) + count;
  const int64_t wanted = (end + block_size_ - 1) / block_size_;
  const int64_t held = found == tables_.end() ? 0 : found->second.blocks.size();
  if (wanted - held > free_blocks())
    return resource_exhausted(fmt::format("no KV room: {} blocks needed, {} of {} free",
                                          wanted - held, free_blocks(), block_count()));
  if (found != tables_.end())
    for (int64_t index = first_position / block_size_; index < std::min(held, wanted); ++index)
      if (references_[found->second.blocks[index]] > 1)
        return corrupt(fmt::format("position {} lies in a shared KV block", first_position));

  Table& table = tables_[session];
  while (static_cast<int64_t>(table.blocks.size()) < wanted) {
    const int32_t block = free_.back();
    free_.pop_back();
    references_[block] = 1;
    table.blocks.push_back(block);
    if (taken != nullptr) taken->push_back(block);
  }
  table.length = std::max(table.length, static_cast<int>(end));
  return {};
}

Result<void> BlockManager::apply(const CacheCommand& command) {
  if (const auto* trim = std::get_if<TrimSequence>(&command)) {
    this->trim(trim->session, trim->length);
    return {};
  }
  if (const auto* release = std::get_if<ReleaseSequence>(&command)) {
    this->release(release->session);
    return {};
  }
  const auto& share = std::get<ShareSequence>(command);
  return this->share(share.from, share.to, share.length);
}

void BlockManager::trim(SessionId session, int length) {
  const auto found = tables_.find(session);
  if (found == tables_.end()) return;
  if (length <= 0) return release(session);
  Table& table = found->second;
  if (length >= table.length) return;
  table.length = length;
  while (static_cast<int>(table.blocks.size()) > blocks_for(length)) {
    drop(table.blocks.back());
    table.blocks.pop_back();
  }
}

void BlockManager::release(SessionId session) {
  const auto found = tables_.find(session);
  if (found == tables_.end()) return;
  std::vector<int32_t>& blocks = found->second.blocks;
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) drop(*block);
  tables_.erase(found);
}

Result<void> BlockManager::share(SessionId from, SessionId to, int length) {
  const auto source = tables_.find(from);
  if (source == tables_.end() || length <= 0 || length > source->second.length ||
      length % block_size_ != 0)
    return corrupt(fmt::format("cannot share {} positions of a sequence that holds {}", length,
                               this->length(from)));
  if (tables_.contains(to)) return corrupt("a sequence that exists cannot take a shared prefix");
  Table table;
  table.length = length;
  table.blocks.assign(source->second.blocks.begin(),
                      source->second.blocks.begin() + length / block_size_);
  for (const int32_t block : table.blocks) ++references_[block];
  tables_.emplace(to, std::move(table));
  return {};
}

std::span<const int32_t> BlockManager::blocks(SessionId session) const {
  const auto found = tables_.find(session);
  if (found == tables_.end()) return {};
  return found->second.blocks;
}

int BlockManager::length(SessionId session) const {
  const auto found = tables_.find(session);
  return found == tables_.end() ? 0 : found->second.length;
}

int BlockManager::unshared_blocks(SessionId session, int length) const {
  const std::span<const int32_t> held = blocks(session);
  int count = 0;
  for (size_t index = static_cast<size_t>(blocks_for(length)); index < held.size(); ++index)
    count += references_[held[index]] == 1 ? 1 : 0;
  return count;
}

void BlockManager::drop(int32_t block) {
  if (--references_[block] == 0) free_.push_back(block);
}

}  // namespace exo
