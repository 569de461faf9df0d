#include "download/file_ops.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace exo {
namespace {

Error failed(std::string_view what) {
  const int number = errno;
  if (number == ENOSPC || number == EDQUOT || number == EFBIG)
    return resource_exhausted(
        fmt::format("{}: the disk is full ({}); free some space, what is "
                    "there already is kept",
                    what, std::strerror(number)));
  if (number == EACCES || number == EPERM || number == EROFS)
    return permission_denied(fmt::format("{}: {}", what, std::strerror(number)));
  return unavailable(fmt::format("{}: {}", what, std::strerror(number)));
}

class RealFileOps final : public FileOps {
 public:
  Result<int> open(const std::filesystem::path& path) override {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return failed("cannot write " + path.string());
    return file;
  }
  void close(int file) override { ::close(file); }
  Result<void> resize(int file, uint64_t bytes) override {
    if (::ftruncate(file, static_cast<off_t>(bytes)) != 0)
      return failed("cannot make room in the downloads folder");
    return {};
  }
  Result<void> write_at(int file, uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return failed("cannot write into the downloads folder");
      bytes.remove_prefix(static_cast<size_t>(count));
      offset += static_cast<uint64_t>(count);
    }
    return {};
  }
  Result<void> sync(int file) override {
    if (::fsync(file) != 0) return failed("cannot flush to the downloads folder");
    return {};
  }
  Result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return failed("cannot create " + to.string());
    return {};
  }
  Result<void> sync_folder(const std::filesystem::path& folder) override {
    const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) return failed("cannot open " + folder.string());
    ::fsync(file);  // some file systems refuse it; the rename is ordered there anyway
    ::close(file);
    return {};
  }
  Result<void> remove(const std::filesystem::path& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return failed("cannot remove " + path.string());
    return {};
  }
  std::optional<uint64_t> free_bytes(const std::filesystem::path& folder) override {
    std::error_code error;
    const auto space = std::filesystem::space(folder, error);
    return error ? std::nullopt : std::optional<uint64_t>(space.available);
  }
};

}  // namespace

FileOps& real_file_ops() {
  static RealFileOps ops;
  return ops;
}

Result<void> replace_file(FileOps& ops, const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path part = path.string() + ".new";
  const int file = TRY(ops.open(part));
  auto written = ops.resize(file, 0);
  if (written.ok()) written = ops.write_at(file, 0, text);
  if (written.ok()) written = ops.sync(file);
  ops.close(file);
  if (!written.ok()) return written;
  TRY(ops.rename(part, path));
  return ops.sync_folder(path.parent_path());
}

}  // namespace exo
