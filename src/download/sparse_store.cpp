#include "download/sparse_store.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/log.h"
#include "download/file_hash.h"
#include "download/piece_hashes.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kHashPiece = 128u << 10;  // stays in the cache between reading and hashing

}  // namespace

SparseWriter::SparseWriter(FileOps& ops, fs::path file, SparseRecord record)
    : ops_(ops), path_(std::move(file)), record_(std::move(record)) {}

SparseWriter::~SparseWriter() {
  if (file_ >= 0) ops_.close(file_);
}

Result<std::unique_ptr<SparseWriter>> SparseWriter::open(FileOps& ops, fs::path file,
                                                         SparseRecord wanted) {
  std::unique_ptr<SparseWriter> writer(new SparseWriter(ops, std::move(file), std::move(wanted)));
  if (auto begun = writer->begin(); !begun.ok()) return begun.error();
  return writer;
}

Result<void> SparseWriter::begin() {
  std::error_code error;
  fs::create_directories(path_.parent_path(), error);
  if (error)
    return permission_denied(fmt::format("cannot create the folder {}: {}",
                                         path_.parent_path().string(), error.message()));
  if (fs::exists(path_, error)) {
    complete_ = fs::file_size(path_, error) == record_.size && !error;
    if (complete_) {
      written_ = record_.held = RangeSet(ByteRange{0, record_.size});
      return ops_.remove(record_path(path_));  // a crash may have left it
    }
    TRY(ops_.remove(path_));
  }
  const auto old = read_sparse_record(path_);
  const bool same = old.ok() && *old && (*old)->size == record_.size &&
                    (*old)->oid == record_.oid && (*old)->revision == record_.revision &&
                    fs::exists(partial_path(path_), error) &&
                    fs::file_size(partial_path(path_), error) == record_.size;
  if (same)
    record_ = **old;
  else
    TRY(ops_.remove(record_path(path_)));  // first: bytes without a record are worth nothing
  written_ = record_.held;
  copied_ = record_.copied;
  hash_ = std::make_unique<FileHash>(record_.oid, record_.size);
  file_ = TRY(ops_.open(partial_path(path_)));
  return ops_.resize(file_, record_.size);
}

Result<RangeSet> SparseWriter::write(uint64_t offset, std::string_view bytes, From from) {
  if (offset > record_.size || bytes.size() > record_.size - offset)
    return corrupt(fmt::format("{} is longer than the hub said", path_.filename().string()));
  RangeSet fresh({offset, offset + bytes.size()});
  {
    const std::lock_guard lock(mutex_);
    fresh = fresh.without(written_).without(being_written_);
    being_written_.add(fresh);
  }
  Result<void> written;
  for (const ByteRange& range : fresh.ranges())
    if (written.ok())
      written = ops_.write_at(file_, range.begin, bytes.substr(range.begin - offset, range.size()));
  const std::lock_guard lock(mutex_);
  being_written_ = being_written_.without(fresh);
  if (!written.ok()) return written.error();
  written_.add(fresh);
  if (from == From::neighbour) copied_.add(fresh);
  uncommitted_bytes_ += fresh.bytes();
  return fresh;
}

Result<void> SparseWriter::believe(const RangeSet& right) {
  {
    const std::lock_guard lock(mutex_);
    copied_.add(right.without(written_));
    written_.add(right);
    record_.held = written_;
    record_.copied = copied_;
  }
  record_.doubted = {};
  return replace_file(ops_, record_path(path_), to_text(record_));
}

Result<void> SparseWriter::commit() {
  SparseRecord next = record_;
  {
    const std::lock_guard lock(mutex_);
    next.held = written_;
    next.copied = copied_;
    uncommitted_bytes_ = 0;
  }
  if (complete_ || (next.held == record_.held && next.copied == record_.copied)) return {};
  TRY(ops_.sync(file_));
  TRY(replace_file(ops_, record_path(path_), to_text(next)));
  record_.held = std::move(next.held);  // what else write() reads, on another thread, stays
  record_.copied = std::move(next.copied);
  return {};
}

Result<uint64_t> SparseWriter::hash_some(uint64_t most_bytes) {
  if (complete_) return uint64_t{0};
  const uint64_t begin = hash_->position();
  const uint64_t end = std::min(held().prefix_end(), begin + most_bytes);
  std::vector<char> piece(kHashPiece);
  while (hash_->position() < end) {
    const size_t want = std::min(kHashPiece, end - hash_->position());
    const ssize_t got = ::pread(file_, piece.data(), want, static_cast<off_t>(hash_->position()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return unavailable("cannot read " + partial_path(path_).string());
    hash_->add({piece.data(), static_cast<size_t>(got)});
  }
  hashed_bytes_ = hash_->position();
  return hashed_bytes_ - begin;
}

void SparseWriter::hash(std::string_view bytes) {
  hash_->add(bytes);
  hashed_bytes_ = hash_->position();
}

Result<void> SparseWriter::discard() {
  TRY(ops_.remove(record_path(path_)));
  TRY(ops_.remove(partial_path(path_)));
  return {};
}

Result<void> SparseWriter::doubt_copied() {
  record_.doubted = std::exchange(record_.copied, {});
  record_.held = record_.held.without(record_.doubted);
  record_.proved = {};
  TRY(replace_file(ops_, record_path(path_), to_text(record_)));
  const std::lock_guard lock(mutex_);
  written_ = record_.held;
  copied_ = {};
  return {};
}

Result<void> SparseWriter::finish() {
  if (complete_) return {};
  TRY(commit());
  CHECK(all_written(), "a file that is not all there");
  TRY(hash_some(record_.size));
  if (!hash_->matches()) {
    const bool copied = !record_.copied.empty();
    TRY(copied ? doubt_copied() : discard());
    return corrupt(fmt::format(
        "{} came with other bytes than the hub promises (its hash is wrong); {} was thrown away",
        path_.filename().string(), copied ? "what other nodes gave of it" : "what came"));
  }
  if (record_.size == 0) TRY(ops_.sync(file_));
  if (!hash_->pieces().empty()) TRY(replace_file(ops_, hashes_path(path_), hash_->pieces()));
  TRY(ops_.rename(partial_path(path_), path_));
  TRY(ops_.sync_folder(path_.parent_path()));
  TRY(ops_.remove(record_path(path_)));
  complete_ = true;
  return {};
}

bool SparseWriter::all_hashed() const { return hashed_bytes_ == record_.size; }

bool SparseWriter::all_written() const {
  const std::lock_guard lock(mutex_);
  return written_.prefix_end() == record_.size;
}

RangeSet SparseWriter::missing_of(ByteRange range) const {
  const std::lock_guard lock(mutex_);
  return RangeSet(range).without(written_);
}

uint64_t SparseWriter::uncommitted_bytes() const {
  const std::lock_guard lock(mutex_);
  return uncommitted_bytes_;
}

RangeSet SparseWriter::held() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

}  // namespace exo
