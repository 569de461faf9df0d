// Four 32-bit words of four rows each, turned: what lies side by side in rows comes to lie side by
// side in words. Plain vector extensions, for files compiled for any processor.
#pragma once

#include <cstdint>

namespace exo::cpu {

typedef uint32_t U32x4 [[gnu::vector_size(16)]];

inline void turn(const U32x4 (&rows)[4], U32x4* words) {
  const U32x4 a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5),
              b = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5),
              c = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7),
              d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  words[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  words[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  words[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  words[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

}  // namespace exo::cpu
