#if defined(__linux__)

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>

#include "inference/device_probe_system.h"

namespace exo::system {
namespace {

// The value after the colon of the first line that starts with `key`.
std::optional<std::string> proc_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!std::string_view(line).starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return std::nullopt;
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::optional<uint64_t>(value) : std::nullopt;
}

uint64_t meminfo_bytes(std::string_view key) {
  return number(proc_value("/proc/meminfo", key).value_or("")).value_or(0) * 1024;
}

std::optional<uint64_t> file_number(const char* path) {
  std::ifstream file(path);
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  return number(text);  // "max" is no number: no limit
}

// Of the files a container has read, what the kernel would give back: mapped weights, mostly.
uint64_t cgroup_file_bytes() {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  uint64_t sum = 0, value = 0;
  for (std::string key; file >> key >> value;)
    if (key == "inactive_file" || key == "active_file") sum += value;
  return sum;
}

}  // namespace

std::string chip_name() {
  for (const char* key : {"model name", "Hardware", "Model"})
    if (auto name = proc_value("/proc/cpuinfo", key); name && !name->empty()) return *name;
  std::ifstream board("/proc/device-tree/model");
  std::string name;
  std::getline(board, name, '\0');
  return name;
}

DeviceMemory memory() {
  DeviceMemory memory{meminfo_bytes("MemTotal"), meminfo_bytes("MemAvailable")};
  // A container may hold less than the machine.
  const auto limit = file_number("/sys/fs/cgroup/memory.max");
  const auto used = file_number("/sys/fs/cgroup/memory.current");
  if (limit && *limit < memory.total_bytes) {
    memory.total_bytes = *limit;
    const uint64_t held = used.value_or(0) - std::min(used.value_or(0), cgroup_file_bytes());
    const uint64_t taken = std::min(held, *limit);
    memory.free_bytes = std::min(memory.free_bytes, *limit - taken);
  }
  return memory;
}

}  // namespace exo::system

#endif
