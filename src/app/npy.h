// NumPy's .npy format, version 1.0 (numpy/lib/format.py documents it): float32, C order.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "base/result.h"

namespace exo {

Result<void> write_npy(const std::filesystem::path& path, std::span<const float> values,
                       const std::vector<size_t>& shape);

}  // namespace exo
