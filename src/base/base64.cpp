#include "base/base64.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace exo {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;  // OpenSSL counts in int
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  CHECK(bytes.size() <= kMaxBytes, "base64 of more than a gigabyte");
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and the zero that OpenSSL adds
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), raw(bytes),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  size_t padding = 0;
  for (; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  const size_t missing = (4 - text.size() % 4) % 4;
  if (missing == 3 || (padding != 0 && padding != missing)) return std::nullopt;
  if (text.size() > kMaxBytes || text.find_first_not_of(kAlphabet) != text.npos)
    return std::nullopt;
  const std::string padded = std::string(text).append(missing, '=');
  std::string bytes(padded.size() / 4 * 3, '\0');
  if (!bytes.empty() && EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), raw(padded),
                                        static_cast<int>(padded.size())) < 0)
    return std::nullopt;
  bytes.resize(bytes.size() - missing);
  return bytes;
}

}  // namespace exo
