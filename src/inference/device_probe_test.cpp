#include "inference/device_probe.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

TEST(DeviceProbe, SaysWhatThisMachineIs) {
  const DeviceCapabilities device = probe_device();
  EXPECT_FALSE(device.os.empty());
  EXPECT_FALSE(device.arch.empty());
  EXPECT_FALSE(device.isa.empty());
  EXPECT_GE(device.cores, 1);
  EXPECT_GT(device.memory_total_bytes, 64u << 20);
  EXPECT_GT(device.memory_free_bytes, 0u);
  EXPECT_LE(device.memory_free_bytes, device.memory_total_bytes);
  const DeviceSpeed speed = measure_speed(1);
  EXPECT_GT(speed.read_bandwidth_gb_per_s, 0);
  EXPECT_GT(speed.gemm_gflops, 0);
  EXPECT_GT(measure_stream(16 << 20, 2), 0);
  EXPECT_EQ(measure_stream(0, 1), 0);
  EXPECT_EQ(measure_stream(uint64_t{1} << 60, 1), 0);
}

}  // namespace
}  // namespace exo
