// RunningHash: a SHA-256 on its way that can be carried from one device to another, so that a file
// of which no device holds all can still be hashed in order. A value; no thread-safety of its own.
// FIPS 180-4.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo {

class RunningHash {
 public:
  RunningHash();
  // What state() of another one gave.
  static Result<RunningHash> resume(std::string_view state);

  void add(std::string_view bytes);
  uint64_t hashed_bytes() const { return hashed_bytes_; }
  // The eight words and the count of bytes, big endian, and the bytes of the block begun: 40 to 103
  // bytes.
  std::string state() const;
  std::string hex() const;  // the hash, as if the data ended here

 private:
  std::array<uint32_t, 8> words_;
  uint64_t hashed_bytes_ = 0;
  std::string begun_;  // less than one block of 64 bytes
};

}  // namespace exo
