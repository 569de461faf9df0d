// FileHash: the hash by which a hub names a file's content: "sha256:HEX" (LFS), or "git:HEX", the
// SHA-1 that git gives a blob. Fed in order; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace exo {

class FileHash {
 public:
  FileHash(std::string_view oid, uint64_t file_bytes);
  ~FileHash();

  void add(std::string_view bytes);
  uint64_t position() const { return position_; }
  bool matches() const;  // once, at the end

 private:
  std::string expected_;
  evp_md_ctx_st* context_;
  uint64_t position_ = 0;
};

}  // namespace exo
