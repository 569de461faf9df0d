#if defined(__APPLE__)

#include <mach/mach.h>
#include <sys/sysctl.h>

#include "inference/device_probe_system.h"

namespace exo::system {
namespace {

template <class T>
T sysctl_number(const char* name) {
  T value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

}  // namespace

std::string chip_name() {
  char name[256] = {};
  size_t size = sizeof(name) - 1;
  return sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0 ? name : "";
}

DeviceMemory memory() {
  DeviceMemory memory;
  memory.total_bytes = sysctl_number<uint64_t>("hw.memsize");
  vm_statistics64_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  vm_size_t page_size = 0;
  const mach_port_t host = mach_host_self();
  if (host_page_size(host, &page_size) == KERN_SUCCESS &&
      host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count) ==
          KERN_SUCCESS)
    memory.free_bytes =
        (static_cast<uint64_t>(pages.free_count) + pages.inactive_count + pages.purgeable_count) *
        page_size;
  return memory;
}

}  // namespace exo::system

#endif
