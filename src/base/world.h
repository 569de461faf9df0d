// The only door to clocks and randomness. Production uses real_world(); the simulator passes its
// own, so that a run is a function of its seed. Implementations are thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace exo {

class World {
 public:
  virtual ~World() = default;
  virtual int64_t now_us() const = 0;        // monotonic, microseconds, arbitrary origin
  virtual int64_t wall_time_ms() const = 0;  // since the Unix epoch
  virtual void random_bytes(
      std::span<std::byte> out) = 0;  // cryptographically strong in production

  int64_t now_ms() const { return now_us() / 1000; }
  uint64_t random_u64() {
    uint64_t value = 0;
    random_bytes(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
};

World& real_world();

}  // namespace exo
