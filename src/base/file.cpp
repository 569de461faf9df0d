#include "base/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/world.h"

namespace exo {
namespace {

// Without waiting: what is a pipe is found out afterwards.
constexpr int kToRead = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Error system_error(const std::filesystem::path& path, std::string_view what) {
  const int number = errno;
  const ErrorCode code = number == ENOENT                        ? ErrorCode::not_found
                         : number == EEXIST                      ? ErrorCode::already_exists
                         : (number == EACCES || number == EPERM) ? ErrorCode::permission_denied
                         : (number == ENOSPC || number == EFBIG || number == EDQUOT)
                             ? ErrorCode::resource_exhausted
                             : ErrorCode::unavailable;
  return {code, fmt::format("{} {}: {}", what, path.string(), std::strerror(number))};
}

Result<size_t> regular_file_size(int fd, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return system_error(path, "cannot read");
  if (!S_ISREG(info.st_mode)) return invalid_argument(path.string() + " is not a regular file");
  return static_cast<size_t>(info.st_size);
}

Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error(path, "cannot write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<void> flush(int fd, const std::filesystem::path& path) {
  if (::fsync(fd) != 0) return system_error(path, "cannot flush");
  return {};
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path, size_t limit_bytes) {
  Descriptor file{::open(path.c_str(), kToRead)};
  if (file.fd < 0) return system_error(path, "cannot open");
  const size_t size = TRY(regular_file_size(file.fd, path));
  if (size > limit_bytes)
    return corrupt(fmt::format("{} has {} bytes; at most {} are allowed here", path.string(), size,
                               limit_bytes));
  std::string text(size, '\0');
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::read(file.fd, text.data() + filled, size - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(path, "cannot read");
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  text.resize(filled);
  return text;
}

Result<void> write_file(const std::filesystem::path& path, std::string_view bytes,
                        WriteOptions options) {
  const std::filesystem::path part =
      path.string() + fmt::format(".{:016x}.part", real_world().random_u64());
  const mode_t mode = options.secret ? 0600 : 0644;
  Result<void> written;
  {
    Descriptor file{::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)};
    if (file.fd < 0) return system_error(part, "cannot create");
    written = write_all(file.fd, bytes, path);
    if (written.ok()) written = flush(file.fd, path);
  }
  if (written.ok()) {
    // link() fails when the target exists, rename() replaces it: both are atomic.
    const int failed = options.exclusive ? ::link(part.c_str(), path.c_str())
                                         : ::rename(part.c_str(), path.c_str());
    if (failed != 0) written = system_error(path, "cannot create");
  }
  ::unlink(part.c_str());
  return written;
}

Result<PartialFile> PartialFile::create(const std::filesystem::path& path, uint64_t size_bytes) {
  std::error_code error;
  const auto folder = std::filesystem::absolute(path, error).parent_path();
  const auto space = std::filesystem::space(folder, error);
  if (!error && space.available < size_bytes)
    return resource_exhausted(fmt::format("{} needs {} MB, but only {} MB are free there",
                                          path.string(), size_bytes >> 20, space.available >> 20));
  const std::string part = path.string() + ".partial";
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return system_error(part, "cannot create");
  return PartialFile(path, fd);
}

PartialFile::PartialFile(PartialFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(other.fd_), written_(other.written_) {
  other.fd_ = -1;
}

PartialFile::~PartialFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(part().c_str());
}

Result<void> PartialFile::write(std::string_view bytes) {
  CHECK(fd_ >= 0, "a finished file");
  TRY(write_all(fd_, bytes, part()));
  written_ += bytes.size();
  return {};
}

Result<void> PartialFile::finish() {
  CHECK(fd_ >= 0, "a finished file");
  TRY(flush(fd_, part()));
  if (::rename(part().c_str(), path_.c_str()) != 0) return system_error(path_, "cannot create");
  ::close(fd_);
  fd_ = -1;
  return {};
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::filesystem::path& path) {
  Descriptor file{::open(path.c_str(), kToRead)};
  if (file.fd < 0) return system_error(path, "cannot open");
  const size_t size = TRY(regular_file_size(file.fd, path));
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(path, nullptr, 0));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) return system_error(path, "cannot map");
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

Result<std::shared_ptr<ScratchMemory>> ScratchMemory::create(const std::filesystem::path& folder,
                                                             size_t size_bytes) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  std::string name = (folder / "scratch-XXXXXX").string();
  Descriptor file{::mkostemp(name.data(), O_CLOEXEC)};
  if (file.fd < 0) return system_error(folder, "cannot write in");
  ::unlink(name.c_str());
  // Zeros, not a hole: a disk that is full must be an error here and not a fault later.
  const std::string zeros(std::min<size_t>(size_bytes, 1 << 20), '\0');
  for (size_t left = size_bytes; left > 0; left -= std::min(left, zeros.size()))
    TRY(write_all(file.fd, std::string_view(zeros).substr(0, left), folder));
  if (size_bytes == 0) return std::shared_ptr<ScratchMemory>(new ScratchMemory(nullptr, 0));
  void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) return system_error(folder, "cannot map a file in");
  return std::shared_ptr<ScratchMemory>(
      new ScratchMemory(static_cast<std::byte*>(data), size_bytes));
}

ScratchMemory::~ScratchMemory() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

namespace {

// Whole pages only: the others belong to somebody else as well.
void advise(std::span<const std::byte> bytes, int advice) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

void let_go([[maybe_unused]] std::span<const std::byte> bytes) {
#ifdef MADV_PAGEOUT
  advise(bytes, MADV_PAGEOUT);
#endif
}

void drop_pages(std::span<const std::byte> bytes) { advise(bytes, MADV_DONTNEED); }

}  // namespace exo
