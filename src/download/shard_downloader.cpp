#include "download/shard_downloader.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "base/file.h"
#include "core/json.h"
#include "download/neighbour_fetch.h"
#include "tensor/sparse_file.h"
#include "tensor/tensor_index.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecordName = ".exo-source.json";
constexpr const char* kLockName = ".exo-lock";
constexpr std::string_view kOwnPrefix = ".exo-";
constexpr size_t kMostRecordBytes = 64u << 20;
constexpr size_t kMostIndexBytes = 100'000'000;
constexpr uint64_t kFirstSafetensorsBytes = 32u << 10;  // most headers fit
constexpr uint64_t kFirstGgufBytes = 1u << 20;
constexpr uint64_t kBridgedBytes = 64u << 10;
constexpr uint64_t kMostHeaderBytes = 512u << 20;

Error cancelled() { return {ErrorCode::cancelled, "the download was cancelled"}; }

// Held while a folder is written to; processes on this device may share the downloads folder.
class FolderLock {
 public:
  static Result<FolderLock> take(const fs::path& folder, const DownloadWatch& watch) {
    std::error_code error;
    fs::create_directories(folder, error);
    FolderLock lock;
    lock.file_ = ::open((folder / kLockName).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock.file_ < 0)
      return permission_denied(
          fmt::format("cannot write in {}: {}", folder.string(), std::strerror(errno)));
    while (::flock(lock.file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) break;  // a file system without locks
      if (watch.stopped()) return cancelled();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return lock;
  }
  FolderLock(FolderLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  ~FolderLock() {
    if (file_ >= 0) ::close(file_);
  }

 private:
  FolderLock() = default;
  int file_ = -1;
};

// A file of the store: what counts of it, and what of that was proved.
SparseRecord state_of(const fs::path& folder, const RepoFile& file) {
  std::error_code ignored;
  const RangeSet all(ByteRange{0, file.size});
  if (fs::exists(folder / file.path, ignored)) return {file.size, file.oid, "", all, all};
  const auto record = read_sparse_record(folder / file.path);
  return record.ok() && *record ? **record : SparseRecord{};
}

WantedFile whole(const RepoFile& file) { return {file, RangeSet(ByteRange{0, file.size})}; }

// The weight files that the index names; all when there is none.
Result<std::vector<RepoFile>> weights_in_use(const fs::path& folder, const SourceRecord& record) {
  const fs::path index = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (record.files.gguf || !fs::exists(index, ignored)) return record.files.weights;
  const Json json = TRY(parse_json(TRY(read_file(index, kMostIndexBytes)), 8));
  const JsonObject* map =
      json.is_object() ? TRY(get_object(json.get_object(), "weight_map")) : nullptr;
  if (map == nullptr) return corrupt(index.string() + ": 'weight_map' is missing");
  std::set<std::string, std::less<>> named;
  for (const auto& member : *map)
    if (member.value().is_string()) named.emplace(member.value().get_string());
  std::vector<RepoFile> used;
  for (const RepoFile& file : record.files.weights)
    if (named.contains(file.path)) used.push_back(file);
  if (used.empty()) return corrupt(index.string() + " names none of the files that the hub has");
  return used;
}

// The first bytes of a weight file as far as they are here.
Result<std::string> held_begin(const fs::path& file) {
  std::error_code ignored;
  const bool complete = fs::exists(file, ignored);
  const auto mapped = TRY(MappedFile::open(complete ? file : partial_path(file)));
  uint64_t end = mapped->bytes().size();
  if (!complete) {
    const auto record = TRY(read_sparse_record(file));
    end = record ? std::min(end, record->held.prefix_end()) : 0;
  }
  const auto bytes = mapped->bytes().first(std::min(end, kMostHeaderBytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// How many bytes of the file to have, to know its whole header: nothing when these are here.
Result<std::optional<uint64_t>> next_header_bytes(const fs::path& path, const RepoFile& file,
                                                  bool gguf) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) return std::optional<uint64_t>();  // complete and proved
  const std::string begin = TRY(held_begin(path));
  const auto bytes = std::as_bytes(std::span(begin));
  auto known = gguf ? gguf_header_bytes(bytes) : safetensors_header_bytes(bytes);
  if (!known.ok()) return known.error().in(file.path);
  if (*known && **known <= begin.size()) return std::optional<uint64_t>();
  const uint64_t next = *known ? **known : begin.size() * 2;
  if (begin.size() >= file.size || next > kMostHeaderBytes || (*known && **known > file.size))
    return corrupt(file.path + " ends inside its header");
  return std::optional<uint64_t>(std::min(next, file.size));
}

// GPTQ's order of inputs decides how its matrices are kept in memory: opening a model reads it.
Result<std::vector<WantedFile>> read_on_opening(const fs::path& folder,
                                                const std::vector<RepoFile>& files) {
  constexpr std::string_view kOrder = ".g_idx";
  std::vector<WantedFile> wanted;
  for (const RepoFile& file : files) {
    std::error_code ignored;
    if (fs::exists(folder / file.path, ignored)) continue;  // complete
    const std::string begin = TRY(held_begin(folder / file.path));
    if (begin.find(kOrder) == std::string::npos) continue;
    const auto index = parse_safetensors_begin(std::as_bytes(std::span(begin)), file.size);
    if (!index.ok()) return index.error().in(file.path);
    RangeSet orders;
    for (const TensorEntry& entry : index->entries)
      if (entry.name.ends_with(kOrder)) orders.add({entry.begin, entry.end});
    if (!orders.ranges().empty()) wanted.push_back({file, orders.bridged(kBridgedBytes)});
  }
  return wanted;
}

}  // namespace

Result<std::optional<SourceRecord>> read_source_record(const fs::path& folder) {
  const fs::path path = folder / kRecordName;
  auto text = read_file(path, kMostRecordBytes);
  if (!text.ok() && (text.error().code == ErrorCode::not_found || !fs::is_directory(folder)))
    return std::optional<SourceRecord>();
  if (!text.ok()) return text.error();
  auto record = parse_source_record(*text);
  if (!record.ok()) return record.error().in(path.string());
  return std::optional<SourceRecord>(std::move(record).value());
}

Result<HeldBytes> held_bytes(const fs::path& folder, const SourceRecord& record) {
  HeldBytes bytes;
  for (const RepoFile& file : TRY(weights_in_use(folder, record))) {
    bytes.total += file.size;
    const SparseRecord state = state_of(folder, file);
    bytes.held += std::min(state.held.bytes(), file.size);
    bytes.proved += std::min(state.proved.bytes(), file.size);
  }
  return bytes;
}

Result<void> note_proof(const fs::path& folder, const std::string& file, const RangeSet& right,
                        const RangeSet& wrong, const DownloadWatch& watch) {
  const FolderLock lock = TRY(FolderLock::take(folder, watch));
  auto record = TRY(read_sparse_record(folder / file));
  if (!record) return {};  // complete, or gone
  record->held = record->held.without(wrong);
  record->proved.add(right);
  record->proved = record->held.common(record->proved);
  return replace_file(real_file_ops(), record_path(folder / file), to_text(*record));
}

// A folder that was fetched from the same place before.
std::optional<fs::path> ShardDownloader::find_folder(const ModelSource& source) const {
  std::error_code ignored;
  std::string begin = source.repo;
  begin.replace(begin.find('/'), 1, "--");
  std::vector<fs::path> fitting;
  fs::directory_iterator entry(options_.downloads, ignored);
  for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored)) {
    if (!entry->path().filename().string().starts_with(begin)) continue;
    const auto record = read_source_record(entry->path());
    if (!record.ok() || !*record || (*record)->source.repo != source.repo) continue;
    const bool same_file = (*record)->asked == source.what || (*record)->source.what == source.what;
    const bool same_commit =
        source.revision == "main" || source.revision == (*record)->source.revision;
    if (same_file && same_commit) fitting.push_back(entry->path());
  }
  std::sort(fitting.begin(), fitting.end());
  return fitting.empty() ? std::nullopt : std::optional(fitting.front());
}

// Makes the folder this model's, where it is nobody's. False: it is another one's.
Result<bool> ShardDownloader::claim(const fs::path& folder, const SourceRecord& record,
                                    const DownloadWatch& watch) const {
  const FolderLock lock = TRY(FolderLock::take(folder, watch));
  const auto there = read_source_record(folder);
  if (there.ok() && *there) return (*there)->source == record.source;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error))
    if (!entry->path().filename().string().starts_with(kOwnPrefix)) return false;
  TRY(replace_file(*options_.ops, folder / kRecordName, to_text(record)));
  return true;
}

Result<fs::path> ShardDownloader::prepare(const ModelSource& source, DownloadWatch& watch) const {
  if (options_.downloads.empty())
    return invalid_argument("there is no place for models: set EXO_HOME");
  fs::path folder;
  if (const auto found = find_folder(source)) {
    folder = *found;
  } else {
    HttpTransfers transfers(options_.hub.http);
    const RepoListing listing =
        TRY(hub_.list(transfers, source.repo, source.revision, [&] { return watch.stopped(); }));
    SourceRecord record;
    record.files = TRY(choose_files(listing, source.what));
    record.asked = source.what;
    record.source = {source.repo, listing.commit,
                     record.files.gguf ? record.files.weights.front().path : ""};
    folder = options_.downloads / folder_name(source.repo, record.files);
    if (!TRY(claim(folder, record, watch))) {
      folder += "@" + listing.commit.substr(0, 12);
      if (!TRY(claim(folder, record, watch)))
        return invalid_argument(folder.string() + " holds another model; remove it first");
    }
  }
  const FolderLock lock = TRY(FolderLock::take(folder, watch));
  const auto record = TRY(read_source_record(folder));
  if (!record) return unavailable(folder.string() + " was removed while it was fetched");
  std::vector<WantedFile> small;
  for (const RepoFile& file : record->files.small) small.push_back(whole(file));
  TRY(bring(folder, *record, small, watch));
  TRY(bring_headers(folder, *record, watch));
  return folder;
}

Result<void> ShardDownloader::bring_headers(const fs::path& folder, const SourceRecord& record,
                                            DownloadWatch& watch) const {
  const bool gguf = record.files.gguf;
  const uint64_t first = gguf ? kFirstGgufBytes : kFirstSafetensorsBytes;
  std::vector<WantedFile> wanted;
  for (const RepoFile& file : TRY(weights_in_use(folder, record)))
    wanted.push_back({file, RangeSet(ByteRange{0, std::min(first, file.size)})});
  while (!wanted.empty()) {
    TRY(bring(folder, record, wanted, watch));
    std::vector<WantedFile> next;
    for (const WantedFile& file : wanted)
      if (const auto bytes = TRY(next_header_bytes(folder / file.file.path, file.file, gguf)))
        next.push_back({file.file, RangeSet(ByteRange{0, *bytes})});
    wanted = std::move(next);
  }
  if (gguf) return {};
  wanted = TRY(read_on_opening(folder, TRY(weights_in_use(folder, record))));
  return wanted.empty() ? Result<void>() : bring(folder, record, wanted, watch);
}

Result<void> ShardDownloader::bring_once(const FetchPlace& place, const std::string& source,
                                         const std::vector<WantedFile>& wanted,
                                         DownloadWatch& watch) const {
  if (options_.neighbours) TRY(fetch_together(*options_.neighbours, source, place, wanted, watch));
  return fetch_ranges(place, wanted, watch);  // what nobody gave; and complete files are proved
}

// A file whose hash was wrong gets more chances, from the hub alone: first without those pieces
// from neighbours that are wrong, or all of them where that is not known; then without anything.
Result<void> ShardDownloader::bring(const fs::path& folder, const SourceRecord& record,
                                    const std::vector<WantedFile>& wanted,
                                    DownloadWatch& watch) const {
  const FetchPlace place{hub_,
                         *options_.ops,
                         folder,
                         record.source.repo,
                         record.source.revision,
                         options_.connections,
                         options_.piece_bytes};
  const uint64_t total = watch.total_bytes, done = watch.done_bytes;
  const auto count = [&] {
    watch.total_bytes = total;
    watch.done_bytes = done;
    for (const WantedFile& file : wanted) {
      const RangeSet missing = file.ranges.without(state_of(folder, file.file).held);
      watch.total_bytes += file.ranges.bytes();
      watch.done_bytes += file.ranges.bytes() - missing.bytes();
    }
  };
  count();
  auto brought = bring_once(place, to_text(record.source), wanted, watch);
  for (int chances = 2; chances > 0; --chances) {
    if (brought.ok() || brought.error().code != ErrorCode::corrupt) break;
    if (options_.neighbours)
      TRY(check_copied(*options_.neighbours, to_text(record.source), place, wanted));
    count();
    brought = fetch_ranges(place, wanted, watch);
  }
  return brought;
}

Result<void> ShardDownloader::fetch(const fs::path& folder, const Ranges& ranges,
                                    DownloadWatch& watch) const {
  const FolderLock lock = TRY(FolderLock::take(folder, watch));
  const auto record = TRY(read_source_record(folder));
  if (!record) return not_found(folder.string() + " was not fetched from a hub");
  std::vector<WantedFile> wanted;
  for (const RepoFile& file : record->files.weights) {
    const auto found = ranges.find(file.path);
    if (found == ranges.end()) continue;
    // Small holes are not worth a request of their own; without them a file becomes whole, and is
    // proved, once the last tensor of it is here.
    RangeSet all = found->second;
    if (const auto held = TRY(read_sparse_record(folder / file.path))) all.add(held->held);
    all = all.bridged(kBridgedBytes);
    const auto last = all.ranges();
    if (!last.empty() && file.size - last.back().end < kBridgedBytes)
      all.add({last.back().begin, file.size});
    wanted.push_back({file, std::move(all)});
  }
  TRY(bring(folder, *record, wanted, watch));
  if (options_.neighbours) options_.neighbours->brought(folder);
  return {};
}

Result<void> ShardDownloader::fetch_all(const fs::path& folder, DownloadWatch& watch) const {
  const auto record = TRY(read_source_record(folder));
  if (!record) return not_found(folder.string() + " was not fetched from a hub");
  Ranges ranges;
  for (const RepoFile& file : TRY(weights_in_use(folder, *record)))
    ranges[file.path] = RangeSet(ByteRange{0, file.size});
  return fetch(folder, ranges, watch);
}

}  // namespace exo
