// The safetensors header: u64 length, JSON {name: {dtype, shape, data_offsets}}, then the data.
#include <fmt/core.h>

#include <cstring>

#include "tensor/safetensors_types.h"
#include "tensor/tensor_index.h"

namespace exo {
namespace {

constexpr size_t kHeaderLimit = 100'000'000;  // bytes; the format's own limit
constexpr size_t kEntryLimit = 1'000'000;
constexpr size_t kCommaLimit = 16'000'000;  // bounds the memory of the parsed header
constexpr size_t kRankLimit = 8;

Result<std::vector<int64_t>> extents(const JsonObject& object, std::string_view key, size_t limit) {
  const JsonArray* array = TRY(get_array(object, key));
  if (array == nullptr) return corrupt(fmt::format("'{}' is missing", key));
  if (array->size() > limit) return corrupt(fmt::format("'{}' has {} items", key, array->size()));
  std::vector<int64_t> values;
  for (const Json& item : *array) {
    boost::json::error_code error;
    const auto value = item.is_number() ? item.to_number<int64_t>(error) : -1;
    if (error || value < 0)
      return corrupt(fmt::format("'{}' holds something that is no size", key));
    values.push_back(value);
  }
  return values;
}

Result<TensorEntry> parse_entry(std::string name, const Json& value, size_t data_begin,
                                size_t file_size) {
  if (!value.is_object()) return corrupt("not described by an object");
  const JsonObject& object = value.get_object();
  const auto type_name = TRY(get_string(object, "dtype"));
  if (!type_name) return corrupt("'dtype' is missing");
  TensorEntry entry{.name = std::move(name), .type_name = *type_name};
  entry.shape = TRY(extents(object, "shape", kRankLimit));
  const std::vector<int64_t> offsets = TRY(extents(object, "data_offsets", 2));
  const size_t data_size = file_size - data_begin;
  if (offsets.size() != 2 || offsets[0] > offsets[1] ||
      static_cast<uint64_t>(offsets[1]) > data_size)
    return corrupt(
        fmt::format("'data_offsets' do not lie in the {} bytes of data that the file "
                    "has; it may be cut short: fetch it again",
                    data_size));
  entry.begin = data_begin + static_cast<size_t>(offsets[0]);
  entry.end = data_begin + static_cast<size_t>(offsets[1]);
  if (const SafetensorsType* type = safetensors_type(entry.type_name)) {
    const auto bytes = checked_bytes(entry.shape, 1, type->bytes);
    if (!bytes || *bytes != entry.end - entry.begin)
      return corrupt(fmt::format("its shape of {} needs other bytes than the {} it has",
                                 entry.type_name, entry.end - entry.begin));
    entry.dtype = type->dtype;
  } else if (!checked_elements(entry.shape)) {
    return corrupt("its shape is too large");
  }
  return entry;
}

Result<Json> parse_header(std::string_view text) {
  const JsonCounts counts = count_json(text);
  if (counts.commas > kCommaLimit) return corrupt("the header lists too much");
  Json header = TRY(parse_json(text, 8));
  if (!header.is_object()) return corrupt("the header is no JSON object");
  if (header.get_object().size() > kEntryLimit)
    return corrupt(fmt::format("the header lists more than {} tensors", kEntryLimit));
  if (count_members(header) != counts.members) return corrupt("the header repeats a key");
  return header;
}

}  // namespace

Result<std::optional<uint64_t>> safetensors_header_bytes(std::span<const std::byte> begin) {
  uint64_t header_size = 0;
  if (begin.size() < sizeof header_size) return std::optional<uint64_t>();
  std::memcpy(&header_size, begin.data(), sizeof header_size);
  if (header_size > kHeaderLimit)
    return corrupt(
        fmt::format("its first 8 bytes ask for a header of {} bytes (at most {}): no "
                    "safetensors file",
                    header_size, kHeaderLimit));
  return std::optional<uint64_t>(sizeof header_size + header_size);
}

Result<TensorIndex> parse_safetensors_begin(std::span<const std::byte> begin, size_t file_bytes) {
  const auto header_bytes = TRY(safetensors_header_bytes(begin));
  if (!header_bytes) return corrupt("too short for a safetensors file; fetch it again");
  if (*header_bytes > begin.size())
    return corrupt("the file ends inside its header; fetch it again");
  TensorIndex index;
  index.header_bytes = *header_bytes;
  const std::string_view text(reinterpret_cast<const char*>(begin.data()) + 8, *header_bytes - 8);
  const Json header = TRY(parse_header(text));
  for (const auto& member : header.get_object()) {
    std::string name(member.key());
    if (name == "__metadata__") continue;
    auto entry = parse_entry(name, member.value(), index.header_bytes, file_bytes);
    if (!entry.ok()) return corrupt(fmt::format("tensor '{}': {}", name, entry.error().message));
    index.entries.push_back(std::move(entry).value());
  }
  TRY(finish_index(index));
  return index;
}

Result<TensorIndex> parse_safetensors(std::span<const std::byte> file_bytes) {
  return parse_safetensors_begin(file_bytes, file_bytes.size());
}

}  // namespace exo
