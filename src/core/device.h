// What a device can do, as measured on it (never looked up in a table of names). Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exo {

struct Accelerator {
  std::string name;  // "NVIDIA GeForce RTX 4090"
  uint64_t memory_total_bytes = 0;
  uint64_t memory_free_bytes = 0;
};

struct DeviceCapabilities {
  std::string host_name;
  std::string os;    // "linux", "macos"
  std::string arch;  // "x86_64", "aarch64"
  std::string chip;  // the system's name of the processor
  std::string isa;   // best instruction set of the cpu backend: "avx512_bf16", "avx2",
                     // "neon_i8mm", "scalar"
  int cores = 0;
  uint64_t memory_total_bytes = 0;
  uint64_t memory_free_bytes = 0;      // what a model may use now; refreshed with every gossip
  double read_bandwidth_gb_per_s = 0;  // measured streaming read, all cores
  double gemm_gflops = 0;              // measured int8 or f32 matmul rate, all cores
  std::vector<Accelerator> accelerators;
};

}  // namespace exo
