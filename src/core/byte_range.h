// ByteRange: a half-open piece of a file. A value.
#pragma once

#include <cstdint>

namespace exo {

struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t size() const { return end - begin; }
  bool operator==(const ByteRange&) const = default;
};

}  // namespace exo
