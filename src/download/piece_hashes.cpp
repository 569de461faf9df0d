#include "download/piece_hashes.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include "download/running_hash.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kStateBytes = 32;
constexpr size_t kReadBytes = 256u << 10;

// As RunningHash::resume() takes it. `piece`: the first one behind it.
RunningHash state_before(uint64_t piece, std::string_view hashes) {
  if (piece == 0) return {};
  std::string state(hashes.substr((piece - 1) * kStateBytes, kStateBytes));
  for (int shift = 56; shift >= 0; shift -= 8)
    state += static_cast<char>(piece * kHashPieceBytes >> shift);
  return RunningHash::resume(state).value();  // the right size: it cannot fail
}

bool add_piece(std::ifstream& file, ByteRange range, RunningHash& hash) {
  std::string bytes(kReadBytes, '\0');
  file.seekg(static_cast<std::streamoff>(range.begin));
  for (uint64_t at = range.begin; at < range.end; at += bytes.size()) {
    bytes.resize(std::min<uint64_t>(kReadBytes, range.end - at));
    if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return false;
    hash.add(bytes);
  }
  return true;
}

}  // namespace

fs::path hashes_path(const fs::path& file) {
  return file.parent_path() / (".exo-" + file.filename().string() + ".hashes");
}

uint64_t hashes_bytes(uint64_t file_bytes) {
  return file_bytes == 0 ? 0 : (file_bytes - 1) / kHashPieceBytes * kStateBytes;
}

Result<RangeSet> right_pieces(const fs::path& path, uint64_t file_bytes, const std::string& oid,
                              std::string_view hashes) {
  if (hashes.size() != hashes_bytes(file_bytes))
    return corrupt("the hashes of the pieces of another file");
  std::ifstream file(path, std::ios::binary);
  RangeSet right;
  for (uint64_t begin = 0; begin < file_bytes; begin += kHashPieceBytes) {
    const ByteRange range{begin, std::min(file_bytes, begin + kHashPieceBytes)};
    const uint64_t piece = begin / kHashPieceBytes;
    RunningHash hash = state_before(piece, hashes);
    if (!add_piece(file, range, hash)) return unavailable("cannot read " + path.string());
    const bool is_right = range.end == file_bytes
                              ? "sha256:" + hash.hex() == oid
                              : hash.state() == state_before(piece + 1, hashes).state();
    if (is_right) right.add(range);
  }
  return right;
}

}  // namespace exo
