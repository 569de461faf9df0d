#include "tensor/sparse_file.h"

#include <fmt/core.h>

#include <utility>

#include "base/file.h"
#include "core/json.h"

namespace exo {
namespace {

constexpr size_t kMostRecordBytes = 64 << 20;
constexpr uint64_t kMostFileBytes = uint64_t{1} << 50;

Result<uint64_t> size_of(const Json& value) {
  boost::json::error_code error;
  const auto number = value.is_number() ? value.to_number<uint64_t>(error) : 0;
  if (!value.is_number() || error || number > kMostFileBytes)
    return corrupt("a number in it is no size");
  return number;
}

JsonArray ranges_json(const RangeSet& set) {
  JsonArray ranges;
  for (const ByteRange& range : set.ranges()) ranges.push_back(JsonArray{range.begin, range.end});
  return ranges;
}

Result<RangeSet> ranges_of(const JsonArray& list, std::string_view key, uint64_t file_bytes) {
  RangeSet set;
  for (const Json& item : list) {
    if (!item.is_array() || item.get_array().size() != 2)
      return corrupt(fmt::format("'{}' lists no ranges", key));
    const uint64_t begin = TRY(size_of(item.get_array()[0]));
    const uint64_t end = TRY(size_of(item.get_array()[1]));
    const ByteRange range{begin, end};
    if (range.begin >= range.end || range.end > file_bytes)
      return corrupt(
          fmt::format("'{}' has a range that is not in the file's {} bytes", key, file_bytes));
    set.add(range);
  }
  return set;
}

}  // namespace

std::filesystem::path partial_path(const std::filesystem::path& file) {
  return file.string() + ".partial";
}
std::filesystem::path record_path(const std::filesystem::path& file) {
  return file.string() + ".partial.json";
}

std::string to_text(const SparseRecord& record) {
  return to_text(Json(JsonObject{{"size", record.size},
                                 {"oid", record.oid},
                                 {"revision", record.revision},
                                 {"held", ranges_json(record.held)},
                                 {"proved", ranges_json(record.proved)},
                                 {"copied", ranges_json(record.copied)},
                                 {"doubted", ranges_json(record.doubted)}}));
}

Result<SparseRecord> parse_sparse_record(std::string_view text) {
  const Json json = TRY(parse_json(text, 8));
  if (!json.is_object()) return corrupt("it is no JSON object");
  const JsonObject& object = json.get_object();
  SparseRecord record;
  const Json* size = find_value(object, "size");
  record.size = TRY(size_of(size == nullptr ? Json() : *size));
  record.oid = TRY(get_string(object, "oid")).value_or("");
  record.revision = TRY(get_string(object, "revision")).value_or("");
  const JsonArray* held = TRY(get_array(object, "held"));
  if (held == nullptr) return corrupt("'held' is missing");
  record.held = TRY(ranges_of(*held, "held", record.size));
  for (const auto& [key, set] : {std::pair{"proved", &record.proved},
                                 {"copied", &record.copied},
                                 {"doubted", &record.doubted}})
    if (const JsonArray* ranges = TRY(get_array(object, key)))
      *set = TRY(ranges_of(*ranges, key, record.size));
  return record;
}

Result<std::optional<SparseRecord>> read_sparse_record(const std::filesystem::path& file) {
  const std::filesystem::path path = record_path(file);
  auto text = read_file(path, kMostRecordBytes);
  if (!text.ok() && text.error().code == ErrorCode::not_found) return std::optional<SparseRecord>();
  if (!text.ok()) return text.error();
  auto record = parse_sparse_record(*text);
  if (!record.ok()) return record.error().in(path.string());
  return std::optional<SparseRecord>(std::move(record).value());
}

}  // namespace exo
