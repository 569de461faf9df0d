// What each operating system answers for device_probe; one implementation per system, in a file
// named for it. Private to this folder.
#pragma once

#include <string>

#include "inference/device_probe.h"

namespace exo::system {

std::string chip_name();
DeviceMemory memory();

}  // namespace exo::system
