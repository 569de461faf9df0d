#include <cstddef>
#include <cstdint>

#include "tensor/tensor_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = exo::parse_safetensors(std::as_bytes(std::span(data, size)));
  if (!index.ok()) return 0;
  for (const exo::TensorEntry& entry : index->entries)
    if (entry.begin > entry.end || entry.end > size) __builtin_trap();
  return 0;
}
