// Files: bounded reads, read-only mappings, and writes that are whole or not there at all. Every
// failure is an Error that names the path. MappedFile is immutable after open and may be read from
// any thread; pages of a file that shrinks while mapped fault, which is why loaders check sizes
// once, at open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace exo {

// The whole file, refused when larger than limit_bytes.
Result<std::string> read_file(const std::filesystem::path& path, size_t limit_bytes);

struct WriteOptions {
  bool secret = false;     // mode 0600 from the first byte
  bool exclusive = false;  // fail with already_exists rather than replace
};
// Writes beside the target, flushes to disk, then renames: readers see the old bytes or the new
// ones.
Result<void> write_file(const std::filesystem::path& path, std::string_view bytes,
                        WriteOptions options = {});

// A large file written piece by piece into PATH.partial, which takes PATH's name only in finish();
// without that it is removed. One thread.
class PartialFile {
 public:
  // Fails when the disk has not `size_bytes` free.
  static Result<PartialFile> create(const std::filesystem::path& path, uint64_t size_bytes);
  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile();

  Result<void> write(std::string_view bytes);
  Result<void> finish();  // flushed to disk, then renamed
  uint64_t written() const { return written_; }

 private:
  PartialFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::filesystem::path part() const { return path_.string() + ".partial"; }

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t written_ = 0;
};

class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size_bytes)
      : path_(std::move(path)), data_(data), size_bytes_(size_bytes) {}
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_bytes_;
};

// Memory behind which stands a file without a name: the system may write it to disk and use its
// pages for something else. All the disk it may need is taken at once. Any thread; gone with the
// last owner, also when the program dies.
class ScratchMemory {
 public:
  static Result<std::shared_ptr<ScratchMemory>> create(const std::filesystem::path& folder,
                                                       size_t size_bytes);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  std::span<std::byte> bytes() { return {data_, size_bytes_}; }

 private:
  ScratchMemory(std::byte* data, size_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  std::byte* data_;
  size_t size_bytes_;
};

// A hint that a mapped file's bytes will not be read again soon, so that they need not stay in
// memory. They can still be read.
void let_go(std::span<const std::byte> bytes);
// Only of a file mapped read-only: the pages count no longer as this program's memory, and come
// back from the system's cache of files when they are read again.
void drop_pages(std::span<const std::byte> bytes);

}  // namespace exo
