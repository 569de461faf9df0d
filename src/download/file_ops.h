// FileOps: every change the store makes to the disk, one call each, so that a test can end the
// program between any two of them, or fill the disk. Errors name the path and what the system said;
// a full disk is resource_exhausted. Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace exo {

class FileOps {
 public:
  virtual ~FileOps() = default;
  // For writing, created where it is not there; the descriptor is the caller's.
  virtual Result<int> open(const std::filesystem::path& path) = 0;
  virtual void close(int file) = 0;
  virtual Result<void> resize(int file, uint64_t bytes) = 0;  // grows by a hole
  virtual Result<void> write_at(int file, uint64_t offset, std::string_view bytes) = 0;
  virtual Result<void> sync(int file) = 0;  // what was written survives a power cut
  virtual Result<void> rename(const std::filesystem::path& from,
                              const std::filesystem::path& to) = 0;
  virtual Result<void> sync_folder(const std::filesystem::path& folder) = 0;  // renames survive
  virtual Result<void> remove(const std::filesystem::path& path) = 0;         // fine when not there
  // What may still be written there; nothing where the system does not say.
  virtual std::optional<uint64_t> free_bytes(const std::filesystem::path& folder) = 0;
};

FileOps& real_file_ops();

// Whole or not at all: beside the target, synced, renamed.
Result<void> replace_file(FileOps& ops, const std::filesystem::path& path, std::string_view text);

}  // namespace exo
