#include "tensor/tensor_index.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace exo {

std::optional<uint64_t> checked_elements(const Shape& shape) {
  uint64_t product = 1;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (__builtin_mul_overflow(product, static_cast<uint64_t>(extent), &product))
      return std::nullopt;
  }
  if (product > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return product;
}

std::optional<uint64_t> checked_bytes(const Shape& shape, int block_size, int block_bytes) {
  const auto elements = checked_elements(shape);
  if (!elements) return std::nullopt;
  const auto block = static_cast<uint64_t>(block_size);
  if (block > 1 && (shape.empty() || static_cast<uint64_t>(shape.back()) % block != 0))
    return std::nullopt;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(*elements / block, static_cast<uint64_t>(block_bytes), &bytes))
    return std::nullopt;
  return bytes;
}

Result<void> finish_index(TensorIndex& index) {
  index.by_name.reserve(index.entries.size());
  for (size_t i = 0; i < index.entries.size(); ++i) {
    if (!index.by_name.emplace(index.entries[i].name, i).second)
      return corrupt(fmt::format("the tensor '{}' is listed twice", index.entries[i].name));
  }
  std::vector<size_t> order(index.entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return index.entries[i].begin == index.entries[i].end; });
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return index.entries[a].begin < index.entries[b].begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorEntry& before = index.entries[order[i - 1]];
    const TensorEntry& after = index.entries[order[i]];
    if (after.begin < before.end)
      return corrupt(fmt::format("the tensors '{}' and '{}' overlap", before.name, after.name));
  }
  return {};
}

JsonCounts count_json(std::string_view text) {
  JsonCounts counts;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else {
      counts.members += c == ':';
      counts.commas += c == ',';
    }
  }
  return counts;
}

size_t count_members(const Json& value) {
  size_t sum = 0;
  if (value.is_object()) {
    for (const auto& member : value.get_object()) sum += 1 + count_members(member.value());
  } else if (value.is_array()) {
    for (const Json& item : value.get_array()) sum += count_members(item);
  }
  return sum;
}

}  // namespace exo
