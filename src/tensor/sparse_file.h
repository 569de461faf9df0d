// A file of which only some ranges are on this device: NAME.partial has the file's full length with
// holes, and NAME.partial.json, the record beside it, says which ranges hold true bytes. A file
// that has its own name is complete and was proved. download/ writes them; tensor/ opens them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "tensor/range_set.h"

namespace exo {

struct SparseRecord {
  uint64_t size = 0;
  std::string oid;       // what the whole file must hash to: "sha256:HEX", "git:HEX"
  std::string revision;  // commit it was pinned to
  RangeSet held;
  RangeSet proved;   // of them: together with other nodes' they had the file's hash
  RangeSet copied;   // of them: they came from other nodes, not from the hub
  RangeSet doubted;  // not held: bytes lie there, but the file had another hash with them
};

std::filesystem::path partial_path(const std::filesystem::path& file);
std::filesystem::path record_path(const std::filesystem::path& file);

std::string to_text(const SparseRecord& record);
// Checks every number; ranges lie inside the size.
Result<SparseRecord> parse_sparse_record(std::string_view text);
// Of `file` (its own name). Nothing when there is none; an error when it cannot be understood.
Result<std::optional<SparseRecord>> read_sparse_record(const std::filesystem::path& file);

}  // namespace exo
