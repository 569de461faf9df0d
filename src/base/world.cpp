#include "base/world.h"

#include <openssl/rand.h>

#include <chrono>

#include "base/check.h"

namespace exo {
namespace {

class RealWorld final : public World {
 public:
  int64_t now_us() const override {
    using namespace std::chrono;
    return duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count();
  }
  int64_t wall_time_ms() const override {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  }
  void random_bytes(std::span<std::byte> out) override {
    const int ok =
        RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
    CHECK(ok == 1, "the system's random generator failed");
  }
};

}  // namespace

World& real_world() {
  static RealWorld world;
  return world;
}

}  // namespace exo
