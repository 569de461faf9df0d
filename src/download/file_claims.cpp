#include "download/file_claims.h"

namespace exo {

void FileClaims::open(const FileName& name, const RangeSet& wanted) {
  const std::lock_guard lock(mutex_);
  claims_[name] = {wanted, false};
}

RangeSet FileClaims::settle(const FileName& name, const RangeSet& others) {
  const std::lock_guard lock(mutex_);
  const auto claim = claims_.find(name);
  if (claim == claims_.end()) return {};
  claim->second = {claim->second.ranges.without(others), true};
  return claim->second.ranges;
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
  if (!claim.settled && asker_first) claim.ranges = claim.ranges.without(wanted);
  return wanted.common(claim.ranges);
}

}  // namespace exo
