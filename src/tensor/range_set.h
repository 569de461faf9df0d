// RangeSet: which bytes of a file are there, as sorted, disjoint, half-open ranges. A value; no
// thread-safety of its own. Adjacent ranges are one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "core/byte_range.h"

namespace exo {

class RangeSet {
 public:
  RangeSet() = default;
  explicit RangeSet(ByteRange range) { add(range); }

  void add(ByteRange range);  // an empty range changes nothing
  void add(const RangeSet& other);
  bool contains(ByteRange range) const;  // an empty range is always contained
  bool contains(const RangeSet& other) const;
  RangeSet without(const RangeSet& other) const;
  RangeSet common(const RangeSet& other) const { return without(without(other)); }
  // The same with gaps of less than `gap_bytes` filled: fewer, longer requests.
  RangeSet bridged(uint64_t gap_bytes) const;

  uint64_t bytes() const;
  uint64_t prefix_end() const;  // where the range that begins at 0 ends
  bool empty() const { return ends_.empty(); }
  size_t count() const { return ends_.size(); }
  std::vector<ByteRange> ranges() const;
  bool operator==(const RangeSet&) const = default;

 private:
  std::map<uint64_t, uint64_t> ends_;  // begin -> end
};

}  // namespace exo
