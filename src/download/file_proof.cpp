#include "download/file_proof.h"

#include <algorithm>

#include "download/running_hash.h"

namespace exo {
namespace {

constexpr size_t kMostParts = 1024;
constexpr uint64_t kPieceBytes = 16u << 20;  // hashed at once: the others of its queue wait for it

// Who holds it, in as few parts as it takes.
std::optional<std::vector<FilePart>> find_parts(Neighbours& neighbours, const FileName& name,
                                                uint64_t file_bytes) {
  const std::vector<NodeId> nodes = neighbours.nodes();
  std::vector<FilePart> parts;
  for (uint64_t at = 0; at < file_bytes;) {
    FilePart best{{}, {at, at}};
    for (const NodeId& node : nodes) {
      const auto step = neighbours.hash(node, name, {at, file_bytes}, "");
      if (step && step->end > best.range.end) best = {node, {at, std::min(step->end, file_bytes)}};
    }
    if (best.range.size() == 0 || parts.size() >= kMostParts) return std::nullopt;
    at = best.range.end;
    parts.push_back(std::move(best));
  }
  return parts;
}

// The state behind `range`.
std::optional<std::string> hash_range(Neighbours& neighbours, const FileName& name,
                                      const FilePart& part, std::string state,
                                      const std::function<bool()>& stop) {
  for (uint64_t at = part.range.begin; at < part.range.end;) {
    if (stop()) return std::nullopt;
    const uint64_t end = std::min(part.range.end, at + kPieceBytes);
    auto step = neighbours.hash(part.node, name, {at, end}, std::move(state));
    if (!step || step->end != end || step->state.empty()) return std::nullopt;
    state = std::move(step->state);
    at = end;
  }
  return state;
}

}  // namespace

std::optional<FileProof> prove_file(Neighbours& neighbours, const FileName& name,
                                    uint64_t file_bytes, const std::string& oid,
                                    const std::function<bool()>& stop) {
  auto parts = find_parts(neighbours, name, file_bytes);
  if (!parts) return std::nullopt;
  std::optional<std::string> state = RunningHash().state();
  for (const FilePart& part : *parts) {
    state = hash_range(neighbours, name, part, std::move(*state), stop);
    if (!state) return std::nullopt;
  }
  const auto hash = RunningHash::resume(*state);
  if (!hash.ok() || hash->hashed_bytes() != file_bytes) return std::nullopt;
  return FileProof{name.source, name.file, "sha256:" + hash->hex() == oid, std::move(*parts)};
}

std::optional<Comparison> compare(Neighbours& neighbours, const FileName& name,
                                  const FilePart& part, const NodeId& other,
                                  const std::function<bool()>& stop) {
  Comparison result;
  for (uint64_t at = part.range.begin; at < part.range.end; at += kPieceBytes) {
    const ByteRange piece{at, std::min(part.range.end, at + kPieceBytes)};
    const auto here = hash_range(neighbours, name, {part.node, piece}, RunningHash().state(), stop);
    const auto there = hash_range(neighbours, name, {other, piece}, RunningHash().state(), stop);
    if (!here || !there) return std::nullopt;
    (*here == *there ? result.alike : result.different).add(piece);
  }
  return result;
}

}  // namespace exo
