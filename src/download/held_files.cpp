#include "download/held_files.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "download/piece_hashes.h"
#include "download/running_hash.h"
#include "download/shard_downloader.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFolders = 1024;
constexpr uint64_t kHashedAtOnce = 1 << 20;

bool read_exactly(int file, std::vector<std::byte>& out, uint64_t offset) {
  size_t at = 0;
  while (at < out.size()) {
    const ssize_t got =
        ::pread(file, out.data() + at, out.size() - at, static_cast<off_t>(offset + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

// The file in this folder, when it is the model's. Folders change: the record is read every time.
std::optional<HeldFiles::Place> HeldFiles::find_in(const fs::path& folder, const FileName& name) {
  const auto record = read_source_record(folder);
  if (!record.ok() || !*record || to_text((*record)->source) != name.source) return std::nullopt;
  for (const auto* files : {&(*record)->files.small, &(*record)->files.weights})
    for (const RepoFile& file : *files)
      if (file.path == name.file)
        return Place{folder, folder / file.path, file.size, file.oid, (*record)->source.revision};
      else if (hashes_path(file.path) == name.file)
        return Place{folder, folder / name.file, hashes_bytes(file.size), "", ""};
  return std::nullopt;
}

std::optional<HeldFiles::Place> HeldFiles::find(const FileName& name) {
  const auto known = folders_.find(name.source);
  if (known != folders_.end())
    if (auto place = find_in(known->second, name)) return place;
  std::error_code ignored;
  fs::directory_iterator entry(downloads_, ignored);
  for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored)) {
    auto place = find_in(entry->path(), name);
    if (!place) continue;
    if (folders_.size() >= kMostFolders) folders_.clear();
    folders_[name.source] = entry->path();
    return place;
  }
  return std::nullopt;
}

RangeSet HeldFiles::held(const Place& place) const {
  std::error_code error;
  if (fs::exists(place.path, error))
    return fs::file_size(place.path, error) == place.size && !error
               ? RangeSet(ByteRange{0, place.size})
               : RangeSet();
  const auto record = read_sparse_record(place.path);
  const bool same = record.ok() && *record && (*record)->size == place.size &&
                    (*record)->oid == place.oid && (*record)->revision == place.revision;
  return same ? (*record)->held : RangeSet();
}

RangeSet HeldFiles::held(const FileName& name) {
  const auto place = find(name);
  return place ? held(*place) : RangeSet();
}

std::optional<HeldFiles::OpenFile> HeldFiles::open(const Place& place) {
  int file = ::open(place.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) file = ::open(partial_path(place.path).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  return std::optional<OpenFile>(std::in_place, file);
}

std::vector<std::byte> HeldFiles::read(const FileName& name, ByteRange range) {
  const auto place = find(name);
  if (!place || range.end > place->size || !held(*place).contains(range)) return {};
  const auto file = open(*place);
  std::vector<std::byte> bytes(range.size());
  return file && read_exactly(file->number(), bytes, range.begin) ? bytes
                                                                  : std::vector<std::byte>();
}

std::optional<Neighbours::HashStep> HeldFiles::hash(const FileName& name, ByteRange range,
                                                    const std::string& state) {
  const auto place = find(name);
  if (!place) return std::nullopt;
  uint64_t end = range.begin;
  for (const ByteRange& held : held(*place).ranges())
    if (held.begin <= range.begin && range.begin < held.end) end = std::min(held.end, range.end);
  if (state.empty() || end == range.begin) return Neighbours::HashStep{end, ""};
  auto hash = RunningHash::resume(state);
  const auto file = open(*place);
  if (!hash.ok() || !file) return std::nullopt;
  std::vector<std::byte> piece;
  for (uint64_t at = range.begin; at < end; at += piece.size()) {
    piece.resize(std::min(kHashedAtOnce, end - at));
    if (!read_exactly(file->number(), piece, at)) return std::nullopt;
    hash->add({reinterpret_cast<const char*>(piece.data()), piece.size()});
  }
  return Neighbours::HashStep{end, hash->state()};
}

}  // namespace exo
