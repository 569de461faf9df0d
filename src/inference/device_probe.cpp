#include "inference/device_probe.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_memory.h"
#include "backend/cpu/isa.h"
#include "backend/ops.h"
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

void read_once(std::span<const uint64_t> numbers) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= numbers.size(); i += 8)
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += numbers[i + lane];
  volatile uint64_t sink = std::accumulate(sums, sums + 8, uint64_t{0});
  (void)sink;
}

// Bytes per second of one thread that reads its buffer over and over.
double read_rate(size_t bytes) {
  const std::vector<uint64_t> buffer(bytes / sizeof(uint64_t), 1);
  uint64_t passes = 0;
  const auto start = Clock::now();
  do {
    read_once(buffer);
    ++passes;
  } while (Clock::now() - start < kReadTime);
  return static_cast<double>(passes) * static_cast<double>(bytes) / seconds_since(start);
}

// Floating point operations per second of the cpu backend's own matrix product, on all threads.
double gemm_rate(int threads) {
  constexpr int64_t kRows = 64, kWidth = 512;
  BackendOptions options;
  options.threads = threads;
  const auto backend = make_backend("cpu", options);
  if (!backend.ok()) return 0;
  const std::vector<float> values(kWidth * kWidth, 0.25f);
  const HostTensor matrix{DType::f32, {kWidth, kWidth}, std::as_bytes(std::span(values)), nullptr};
  const auto weight = (*backend)->upload_weight(matrix, WeightFormat::as_stored);
  const auto x = (*backend)->upload(std::span(values).first(kRows * kWidth), {kRows, kWidth});
  if (!weight.ok() || !x.ok()) return 0;
  uint64_t products = 0;
  const auto start = Clock::now();
  do {
    const Tensor product = (*backend)->ops().matmul(*x, *weight, nullptr);
    (*backend)->sync();
    ++products;
  } while (Clock::now() - start < kGemmTime);
  return static_cast<double>(products) * 2.0 * kRows * kWidth * kWidth / seconds_since(start);
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
  speed.gemm_gflops = gemm_rate(count) * 1e-9;
  return speed;
}

double measure_stream(uint64_t bytes, int threads) {
  constexpr int kPasses = 3;
  const auto count = static_cast<size_t>(threads > 0 ? threads : core_count());
  const size_t each = bytes / count / sizeof(uint64_t);
  if (each == 0 || bytes > probe_memory().free_bytes) return 0;
  const auto memory = cpu::CpuBuffer::for_weight(std::make_shared<cpu::MemoryPool>(),
                                                 each * count * sizeof(uint64_t));
  if (memory == nullptr) return 0;
  const std::span numbers(memory->as<uint64_t>(), each * count);
  std::fill(numbers.begin(), numbers.end(), 1);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    std::vector<std::thread> workers;
    for (size_t i = 0; i < count; ++i)
      workers.emplace_back([&, i] { read_once(numbers.subspan(i * each, each)); });
    for (std::thread& worker : workers) worker.join();
    best = std::max(best, static_cast<double>(numbers.size_bytes()) / seconds_since(start));
  }
  return best * 1e-9;
}

}  // namespace exo
