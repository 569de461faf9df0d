#include "download/file_hash.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "download/piece_hashes.h"

namespace exo {

FileHash::FileHash(std::string_view oid, uint64_t file_bytes)
    : expected_(oid.substr(oid.find(':') + 1)), file_bytes_(file_bytes) {
  if (!oid.starts_with("git:")) return;
  git_ = EVP_MD_CTX_new();
  CHECK(git_ != nullptr && EVP_DigestInit_ex(git_, EVP_sha1(), nullptr) == 1,
        "SHA is not available");
  std::string head = fmt::format("blob {}", file_bytes);
  EVP_DigestUpdate(git_, head.c_str(), head.size() + 1);  // with the NUL
}

FileHash::~FileHash() { EVP_MD_CTX_free(git_); }

void FileHash::add(std::string_view bytes) {
  if (git_ == nullptr) return add_to_sha256(bytes);
  CHECK(EVP_DigestUpdate(git_, bytes.data(), bytes.size()) == 1, "hashing cannot fail");
  position_ += bytes.size();
}

void FileHash::add_to_sha256(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.substr(0, kHashPieceBytes - position_ % kHashPieceBytes);
    bytes.remove_prefix(piece.size());
    sha256_.add(piece);
    position_ += piece.size();
    if (position_ % kHashPieceBytes == 0 && position_ < file_bytes_)
      pieces_ += sha256_.state().substr(0, 32);
  }
}

bool FileHash::matches() const {
  if (git_ == nullptr) return sha256_.hex() == expected_;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  CHECK(EVP_DigestFinal_ex(git_, digest, &length) == 1, "hashing cannot fail");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex == expected_;
}

}  // namespace exo
