// What the headers of checkpoint files say, parsed from bytes and fully checked against
// the file's size: names, types, shapes, and where the data lies. Shared by the two formats and by
// their fuzz targets. Immutable values; errors say what is wrong but not which file (the caller
// adds that).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/json.h"
#include "tensor/host_tensor.h"

namespace exo {

struct TensorEntry {
  std::string name;
  std::string type_name;       // as the file calls it: "BF16", "Q4_K"
  std::optional<DType> dtype;  // nothing: a type this build does not read
  Shape shape;                 // outermost first
  size_t begin = 0;            // absolute byte range in the file
  size_t end = 0;
};

struct TensorIndex {
  std::vector<TensorEntry> entries;
  std::unordered_map<std::string, size_t> by_name;
  JsonObject metadata;
  size_t header_bytes = 0;
};

Result<TensorIndex> parse_safetensors(std::span<const std::byte> file_bytes);
Result<TensorIndex> parse_gguf(std::span<const std::byte> file_bytes);
// The same from the first bytes of a file of `file_bytes`, which must hold the whole header.
Result<TensorIndex> parse_safetensors_begin(std::span<const std::byte> begin, size_t file_bytes);
Result<TensorIndex> parse_gguf_begin(std::span<const std::byte> begin, size_t file_bytes);

// For those who fetch a file bit by bit: how many bytes its header has, judged by its first ones.
// Nothing when these are too few to tell.
Result<std::optional<uint64_t>> safetensors_header_bytes(std::span<const std::byte> begin);
Result<std::optional<uint64_t>> gguf_header_bytes(std::span<const std::byte> begin);

// elements and bytes without wrapping; nothing when they do not fit, or when a row is no whole
// number of blocks.
std::optional<uint64_t> checked_elements(const Shape& shape);
std::optional<uint64_t> checked_bytes(const Shape& shape, int block_size, int block_bytes);

// Fills by_name; refuses repeated names and ranges that overlap.
Result<void> finish_index(TensorIndex& index);

// Members of all objects and commas of all depths, counted in the text without parsing it: a
// parser that keeps one of two equal keys has fewer members than the text.
struct JsonCounts {
  size_t members = 0;
  size_t commas = 0;
};
JsonCounts count_json(std::string_view text);
size_t count_members(const Json& value);

}  // namespace exo
