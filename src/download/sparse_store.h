// SparseWriter: one file on its way into the store (tensor/sparse_file.h says how it looks on
// disk). Bytes are written where they belong, in any order, each once; commit() makes what was
// written so far count: data is flushed before the record that names it is replaced, so that no
// crash can make the record claim a byte that is not there. finish() proves a complete file by its
// hash and gives it its name. write() may be called from any thread, hash(), hash_some() and
// commit()/finish() from one each, finish() only once all is hashed where another thread hashes.
// Errors name the file.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "download/file_ops.h"
#include "tensor/sparse_file.h"

namespace exo {

class FileHash;

class SparseWriter {
 public:
  // `wanted` without ranges: size, oid and revision. What is there of another size, oid or revision
  // is thrown away. A complete file is recognised by its name and size.
  static Result<std::unique_ptr<SparseWriter>> open(FileOps& ops, std::filesystem::path file,
                                                    SparseRecord wanted);
  ~SparseWriter();
  SparseWriter(const SparseWriter&) = delete;
  SparseWriter& operator=(const SparseWriter&) = delete;

  enum class From { hub, neighbour };
  // What was written: bytes that are there already, or that another thread is writing, stay.
  Result<RangeSet> write(uint64_t offset, std::string_view bytes, From from = From::hub);
  // Bytes that lie there though they were doubted (SparseRecord), and count again. The rest of them
  // is not doubted any more, but missing.
  Result<void> believe(const RangeSet& right);
  Result<void> commit();  // nothing to do when nothing was written
  // When every byte is there: hashes (what hash_some() left over), then renames, and keeps the
  // hashes of its pieces. corrupt when the hash is another one: what came from other nodes is
  // doubted then, and everything is thrown away when nothing did. It is to be opened anew then.
  Result<void> finish();
  // Hashes up to `most_bytes` of what lies in order, to have less to do at the end. How many it
  // were.
  Result<uint64_t> hash_some(uint64_t most_bytes);
  // The same for bytes still in memory: exactly those that were written behind hashed_bytes().
  void hash(std::string_view bytes);
  uint64_t hashed_bytes() const { return hashed_bytes_; }

  bool complete() const { return complete_; }  // has its own name
  bool all_hashed() const;                     // every byte
  bool all_written() const;
  uint64_t uncommitted_bytes() const;
  RangeSet held() const;
  const RangeSet& doubted() const { return record_.doubted; }
  RangeSet missing_of(ByteRange range) const;
  uint64_t size() const { return record_.size; }
  const std::filesystem::path& path() const { return path_; }

 private:
  SparseWriter(FileOps& ops, std::filesystem::path file, SparseRecord record);
  Result<void> begin();
  Result<void> discard();
  Result<void> doubt_copied();

  FileOps& ops_;
  const std::filesystem::path path_;
  SparseRecord record_;  // as on disk
  int file_ = -1;
  std::atomic<bool> complete_ = false;
  std::unique_ptr<FileHash> hash_;
  std::atomic<uint64_t> hashed_bytes_ = 0;  // by hash_; behind it in time
  mutable std::mutex mutex_;
  RangeSet written_, copied_, being_written_;  // with mutex_
  uint64_t uncommitted_bytes_ = 0;
};

}  // namespace exo
