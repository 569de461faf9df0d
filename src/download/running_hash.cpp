#include "download/running_hash.h"

#include <fmt/core.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

// OpenSSL 3 prefers its EVP functions, but they cannot be stopped here and continued elsewhere.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace exo {
namespace {

constexpr size_t kHeadBytes = 40;
constexpr size_t kBlockBytes = SHA256_CBLOCK;

uint64_t get(std::string_view bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

void put(std::string& out, uint64_t value, size_t count) {
  for (size_t i = count; i-- > 0;) out += static_cast<char>(value >> (8 * i));
}

// At a border of blocks.
SHA256_CTX context_of(const std::array<uint32_t, 8>& words, uint64_t bytes) {
  SHA256_CTX context;
  SHA256_Init(&context);
  std::copy(words.begin(), words.end(), context.h);
  context.Nl = static_cast<uint32_t>(bytes << 3);
  context.Nh = static_cast<uint32_t>(bytes >> 29);
  return context;
}

}  // namespace

RunningHash::RunningHash() {
  SHA256_CTX context;
  SHA256_Init(&context);
  std::copy(std::begin(context.h), std::end(context.h), words_.begin());
}

Result<RunningHash> RunningHash::resume(std::string_view state) {
  RunningHash hash;
  if (state.size() >= kHeadBytes) hash.hashed_bytes_ = get(state.substr(32), 8);
  if (state.size() != kHeadBytes + hash.hashed_bytes_ % kBlockBytes ||
      hash.hashed_bytes_ >> 56 != 0)
    return corrupt(fmt::format("{} bytes are no state of a hash", state.size()));
  for (size_t i = 0; i < hash.words_.size(); ++i)
    hash.words_[i] = static_cast<uint32_t>(get(state.substr(4 * i), 4));
  hash.begun_ = state.substr(kHeadBytes);
  return hash;
}

void RunningHash::add(std::string_view bytes) {
  SHA256_CTX context = context_of(words_, hashed_bytes_ - begun_.size());
  hashed_bytes_ += bytes.size();
  if (!begun_.empty()) {
    const size_t taken = std::min(kBlockBytes - begun_.size(), bytes.size());
    begun_ += bytes.substr(0, taken);
    bytes.remove_prefix(taken);
    if (begun_.size() < kBlockBytes) return;
    SHA256_Update(&context, begun_.data(), begun_.size());
  }
  const size_t whole = bytes.size() / kBlockBytes * kBlockBytes;
  SHA256_Update(&context, bytes.data(), whole);
  begun_ = bytes.substr(whole);
  std::copy(std::begin(context.h), std::end(context.h), words_.begin());
}

std::string RunningHash::state() const {
  std::string out;
  for (const uint32_t word : words_) put(out, word, 4);
  put(out, hashed_bytes_, 8);
  return out + begun_;
}

std::string RunningHash::hex() const {
  SHA256_CTX context = context_of(words_, hashed_bytes_ - begun_.size());
  SHA256_Update(&context, begun_.data(), begun_.size());
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256_Final(digest, &context);
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

}  // namespace exo
