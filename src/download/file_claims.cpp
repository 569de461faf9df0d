#include "download/file_claims.h"

#include <algorithm>

namespace exo {
namespace {

constexpr uint64_t kLeastGivenBytes = 1u << 20;  // less is not worth another node's request

// The second half of its bytes.
RangeSet second_half(const RangeSet& set) {
  uint64_t skipped = set.bytes() / 2;
  RangeSet half;
  for (ByteRange range : set.ranges()) {
    const uint64_t skip = std::min(skipped, range.size());
    skipped -= skip;
    range.begin += skip;
    half.add(range);
  }
  return half;
}

}  // namespace

void FileClaims::open(const FileName& name, const RangeSet& wanted) {
  const std::lock_guard lock(mutex_);
  claims_[name] = {wanted, {}, false};
}

RangeSet FileClaims::settle(const FileName& name, const RangeSet& others) {
  const std::lock_guard lock(mutex_);
  const auto claim = claims_.find(name);
  if (claim == claims_.end()) return {};
  claim->second = {claim->second.ranges.without(others), {}, true};
  return claim->second.ranges;
}

RangeSet FileClaims::take(const FileName& name, ByteRange range) {
  const std::lock_guard lock(mutex_);
  const auto claim = claims_.find(name);
  if (claim == claims_.end()) return {};
  RangeSet ours = claim->second.ranges.common(RangeSet(range));
  claim->second.taken.add(ours);
  return ours;
}

void FileClaims::end(const FileName& name) {
  const std::lock_guard lock(mutex_);
  claims_.erase(name);
}

RangeSet FileClaims::answer(const FileName& name, const RangeSet& wanted, bool asker_first) {
  const std::lock_guard lock(mutex_);
  const auto found = claims_.find(name);
  if (found == claims_.end()) return {};
  Claim& claim = found->second;
  if (claim.settled) {
    const RangeSet free = wanted.common(claim.ranges).without(claim.taken);
    if (free.bytes() >= 2 * kLeastGivenBytes)
      claim.ranges = claim.ranges.without(second_half(free));
  } else if (asker_first) {
    claim.ranges = claim.ranges.without(wanted);
  }
  return wanted.common(claim.ranges);
}

}  // namespace exo
