#include "tensor/range_set.h"

#include <algorithm>
#include <iterator>

namespace exo {

void RangeSet::add(ByteRange range) {
  if (range.begin >= range.end) return;
  auto next = ends_.upper_bound(range.begin);
  if (next != ends_.begin() && std::prev(next)->second >= range.begin) --next;
  while (next != ends_.end() && next->first <= range.end) {
    range.begin = std::min(range.begin, next->first);
    range.end = std::max(range.end, next->second);
    next = ends_.erase(next);
  }
  ends_.emplace(range.begin, range.end);
}

void RangeSet::add(const RangeSet& other) {
  for (const auto& [begin, end] : other.ends_) add({begin, end});
}

bool RangeSet::contains(ByteRange range) const {
  if (range.begin >= range.end) return true;
  const auto next = ends_.upper_bound(range.begin);
  return next != ends_.begin() && std::prev(next)->second >= range.end;
}

bool RangeSet::contains(const RangeSet& other) const {
  return std::all_of(other.ends_.begin(), other.ends_.end(), [&](const auto& range) {
    return contains({range.first, range.second});
  });
}

RangeSet RangeSet::without(const RangeSet& other) const {
  RangeSet left;
  for (const auto& [begin, end] : ends_) {
    uint64_t at = begin;
    auto hole = other.ends_.upper_bound(begin);
    if (hole != other.ends_.begin()) --hole;
    for (; hole != other.ends_.end() && hole->first < end; ++hole) {
      if (hole->first > at) left.add({at, hole->first});
      at = std::max(at, hole->second);
    }
    if (at < end) left.add({at, end});
  }
  return left;
}

RangeSet RangeSet::bridged(uint64_t gap_bytes) const {
  RangeSet wide;
  ByteRange open;
  for (const auto& [begin, end] : ends_) {
    if (open.size() > 0 && begin - open.end >= gap_bytes) {
      wide.add(open);
      open = {};
    }
    open = open.size() > 0 ? ByteRange{open.begin, end} : ByteRange{begin, end};
  }
  wide.add(open);
  return wide;
}

uint64_t RangeSet::bytes() const {
  uint64_t sum = 0;
  for (const auto& [begin, end] : ends_) sum += end - begin;
  return sum;
}

uint64_t RangeSet::prefix_end() const {
  return !ends_.empty() && ends_.begin()->first == 0 ? ends_.begin()->second : 0;
}

std::vector<ByteRange> RangeSet::ranges() const {
  std::vector<ByteRange> all;
  for (const auto& [begin, end] : ends_) all.push_back({begin, end});
  return all;
}

}  // namespace exo
