#include "download/file_hash.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include "base/check.h"

namespace exo {

FileHash::FileHash(std::string_view oid, uint64_t file_bytes)
    : expected_(oid.substr(oid.find(':') + 1)), context_(EVP_MD_CTX_new()) {
  const bool git = oid.starts_with("git:");
  CHECK(context_ != nullptr &&
            EVP_DigestInit_ex(context_, git ? EVP_sha1() : EVP_sha256(), nullptr) == 1,
        "SHA is not available");
  if (!git) return;
  std::string head = fmt::format("blob {}", file_bytes);
  EVP_DigestUpdate(context_, head.c_str(), head.size() + 1);  // with the NUL
}

FileHash::~FileHash() { EVP_MD_CTX_free(context_); }

void FileHash::add(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1, "hashing cannot fail");
  position_ += bytes.size();
}

bool FileHash::matches() const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  CHECK(EVP_DigestFinal_ex(context_, digest, &length) == 1, "hashing cannot fail");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex == expected_;
}

}  // namespace exo
