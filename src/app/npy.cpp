#include "app/npy.h"

#include <fmt/core.h>

#include <bit>
#include <string>

#include "base/file.h"

namespace exo {

Result<void> write_npy(const std::filesystem::path& path, std::span<const float> values,
                       const std::vector<size_t>& shape) {
  static_assert(std::endian::native == std::endian::little);
  size_t count = 1;
  std::string sizes;
  for (const size_t extent : shape) {
    count *= extent;
    sizes += fmt::format("{}{}", sizes.empty() ? "" : ", ", extent);
  }
  if (shape.size() == 1) sizes += ',';  // as Python writes a tuple of one
  CHECK(values.size() == count, "shape and values of an array differ");
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes);
  constexpr size_t kPreamble = 10;  // magic, version, header length
  header.append(63 - (kPreamble + header.size()) % 64, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return write_file(path, file);
}

}  // namespace exo
