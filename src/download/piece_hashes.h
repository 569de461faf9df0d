// The states of a file's SHA-256 every 4 MiB, kept beside the file once its hash came out right
// (`.exo-NAME.hashes`): with them each piece can be checked alone. They cost nothing, for the file
// is hashed anyway. A node whose copy of the file has another hash reads them from a neighbour, and
// keeps the pieces that are right. Nothing is proved by them: the whole file must have its hash.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tensor/range_set.h"

namespace exo {

constexpr uint64_t kHashPieceBytes = 4u << 20;

std::filesystem::path hashes_path(const std::filesystem::path& file);  // also relative ones
// Of a file of that size: 32 bytes for each border of pieces inside it.
uint64_t hashes_bytes(uint64_t file_bytes);
// Which pieces of the file at `path` have those hashes. `oid`: "sha256:HEX" of all of it.
Result<RangeSet> right_pieces(const std::filesystem::path& path, uint64_t file_bytes,
                              const std::string& oid, std::string_view hashes);

}  // namespace exo
