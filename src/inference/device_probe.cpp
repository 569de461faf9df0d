#include "inference/device_probe.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "backend/cpu/isa.h"
#include "inference/device_probe_system.h"

namespace exo {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kReadTime = std::chrono::milliseconds(50);
constexpr auto kGemmTime = std::chrono::milliseconds(40);
constexpr size_t kMostReadBytes = 64 << 20;  // all threads together: beyond the caches of most

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs work(thread) on `threads` threads at once and adds up what they return.
template <class Work>
double on_threads(int threads, const Work& work) {
  std::vector<double> results(static_cast<size_t>(threads), 0);
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i)
    workers.emplace_back([&, i] { results[static_cast<size_t>(i)] = work(); });
  for (std::thread& worker : workers) worker.join();
  return std::accumulate(results.begin(), results.end(), 0.0);
}

// Bytes per second of one thread that reads its buffer over and over.
double read_rate(size_t bytes) {
  std::vector<uint64_t> buffer(bytes / sizeof(uint64_t), 1);
  uint64_t sums[8] = {};
  volatile uint64_t sink = 0;
  uint64_t passes = 0;
  const auto start = Clock::now();
  do {
    for (size_t i = 0; i + 8 <= buffer.size(); i += 8)
      for (size_t lane = 0; lane < 8; ++lane) sums[lane] += buffer[i + lane];
    ++passes;
  } while (Clock::now() - start < kReadTime);
  sink = std::accumulate(sums, sums + 8, uint64_t{0});
  (void)sink;
  return static_cast<double>(passes) * static_cast<double>(bytes) / seconds_since(start);
}

// Floating point operations per second of one thread on a product that stays in its cache.
double gemm_rate() {
  constexpr int kSize = 96;
  std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize, 0.0f);
  uint64_t products = 0;
  volatile float sink = 0;
  const auto start = Clock::now();
  do {
    for (int i = 0; i < kSize; ++i)
      for (int k = 0; k < kSize; ++k) {
        const float factor = a[static_cast<size_t>(i * kSize + k)];
        const float* from = &b[static_cast<size_t>(k * kSize)];
        float* to = &c[static_cast<size_t>(i * kSize)];
        for (int j = 0; j < kSize; ++j) to[j] += factor * from[j];
      }
    ++products;
  } while (Clock::now() - start < kGemmTime);
  sink = c[0];
  (void)sink;
  return static_cast<double>(products) * 2.0 * kSize * kSize * kSize / seconds_since(start);
}

int core_count() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace

DeviceMemory probe_memory() { return system::memory(); }

DeviceCapabilities probe_device() {
  DeviceCapabilities device;
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) == 0) device.host_name = host;
  utsname names{};
  if (uname(&names) == 0) {
    const std::string kernel = names.sysname;
    device.os = kernel == "Darwin" ? "macos" : kernel == "Linux" ? "linux" : kernel;
    device.arch = names.machine;
    if (device.arch == "arm64") device.arch = "aarch64";
  }
  device.chip = system::chip_name();
  // The same choice the cpu backend makes.
  if (const auto kernels = cpu::choose_kernels(""); kernels.ok()) device.isa = kernels->level;
  device.cores = core_count();
  const DeviceMemory memory = probe_memory();
  device.memory_total_bytes = memory.total_bytes;
  device.memory_free_bytes = memory.free_bytes;
  return device;
}

DeviceSpeed measure_speed(int threads) {
  const int count = threads > 0 ? threads : core_count();
  const size_t bytes = kMostReadBytes / static_cast<size_t>(count);
  DeviceSpeed speed;
  speed.read_bandwidth_gb_per_s = on_threads(count, [&] { return read_rate(bytes); }) * 1e-9;
  speed.gemm_gflops = on_threads(count, gemm_rate) * 1e-9;
  return speed;
}

}  // namespace exo
