// FileHash: the hash by which a hub names a file's content: "sha256:HEX" (LFS), or "git:HEX", the
// SHA-1 that git gives a blob. Fed in order; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "download/running_hash.h"

struct evp_md_ctx_st;

namespace exo {

class FileHash {
 public:
  FileHash(std::string_view oid, uint64_t file_bytes);
  ~FileHash();
  FileHash(const FileHash&) = delete;
  FileHash& operator=(const FileHash&) = delete;

  void add(std::string_view bytes);
  uint64_t position() const { return position_; }
  bool matches() const;  // once, at the end
  // Of a sha256, as far as it is: what piece_hashes.h keeps.
  const std::string& pieces() const { return pieces_; }

 private:
  void add_to_sha256(std::string_view bytes);

  const std::string expected_;
  const uint64_t file_bytes_;
  evp_md_ctx_st* git_ = nullptr;
  RunningHash sha256_;  // otherwise
  std::string pieces_;
  uint64_t position_ = 0;
};

}  // namespace exo
