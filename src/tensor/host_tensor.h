// A tensor in host memory: dtype, shape (outermost first), and bytes that something else keeps
// alive (a mapped file, mostly). Cheap to copy; immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace exo {

using Shape = std::vector<int64_t>;

struct HostTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  // keeps `bytes` alive; may be null for static storage
  bool in_file = false;               // they are pages of a mapped file: drop_pages() may have them

  int64_t elements() const {
    int64_t product = 1;
    for (const int64_t extent : shape) product *= extent;
    return product;
  }
};

}  // namespace exo
