// What this device can do, measured. `probe_device` reads names and memory from the system at once;
// `measure_speed` runs for about a tenth of a second on all cores (memory reads, then a small
// matrix product) and is meant for a background thread at start. Never fails: what a system does
// not say stays empty or 0. Thread-safe.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace exo {

DeviceCapabilities probe_device();  // without the measured rates

struct DeviceMemory {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // what a program may take now without swapping
};
DeviceMemory probe_memory();  // cheap: for every gossip

struct DeviceSpeed {
  double read_bandwidth_gb_per_s = 0;
  double gemm_gflops = 0;  // f32
};
DeviceSpeed measure_speed(int threads = 0);  // 0 = all cores

// GB/s at which `threads` threads (0 = all cores) read `bytes` of memory once from end to end, laid
// out as weights are; the best of three passes. 0 where so much memory is not free.
double measure_stream(uint64_t bytes, int threads = 0);

}  // namespace exo
