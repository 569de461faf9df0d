// "exo1-" and base32 (RFC 4648, lower case, no padding) of:
//   secret 16 | fingerprint 16 | port u16 BE | count u8 | IPv4 address 4 x count | checksum 4
// where the checksum is the start of the SHA-256 of what precedes it, against typing errors.
#include <arpa/inet.h>

#include <cstring>

#include "networking/admission.h"
#include "networking/crypto.h"

namespace exo {
namespace {

constexpr std::string_view kPrefix = "exo1-";
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr size_t kMaxAddresses = 4;

std::string checksum(std::string_view bytes) {
  const crypto::Digest digest = crypto::sha256(bytes);
  return std::string(crypto::view(digest).substr(0, 4));
}

std::string to_base32(std::string_view bytes) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = (bits << 8 | static_cast<uint8_t>(c)) & 0xfff;
    for (count += 8; count >= 5; count -= 5) out.push_back(kAlphabet[(bits >> (count - 5)) & 31]);
  }
  if (count > 0) out.push_back(kAlphabet[(bits << (5 - count)) & 31]);
  return out;
}

// What people do to a code on its way: upper case, line breaks, dashes.
std::string from_base32(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '-') continue;
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const size_t digit = kAlphabet.find(lower);
    if (digit == std::string_view::npos) return {};
    bits = (bits << 5 | static_cast<uint32_t>(digit)) & 0xfff;
    count += 5;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count));
    }
  }
  return out;
}

}  // namespace

std::string encode_invite(const InviteCode& code) {
  std::string bytes = code.secret + code.fingerprint;
  bytes.push_back(static_cast<char>(code.port >> 8));
  bytes.push_back(static_cast<char>(code.port));
  const size_t count = std::min(code.addresses.size(), kMaxAddresses);
  bytes.push_back(static_cast<char>(count));
  for (size_t i = 0; i < count; ++i) {
    char address[4] = {};
    ::inet_pton(AF_INET, code.addresses[i].c_str(), address);
    bytes.append(address, 4);
  }
  bytes += checksum(bytes);
  return std::string(kPrefix) + to_base32(bytes);
}

Result<InviteCode> parse_invite(std::string_view text) {
  const Error bad = invalid_argument(
      "that is not a whole invite code: copy everything from \"exo1-\" on, as `exo invite` printed "
      "it");
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  if (text.size() > 512 || text.size() < kPrefix.size()) return bad;
  for (size_t i = 0; i < kPrefix.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(text[i])) != kPrefix[i]) return bad;
  const std::string bytes = from_base32(text.substr(kPrefix.size()));
  constexpr size_t kFixed = 16 + 16 + 2 + 1;
  if (bytes.size() < kFixed + 4) return bad;
  const size_t count = static_cast<uint8_t>(bytes[kFixed - 1]);
  if (count == 0 || count > kMaxAddresses || bytes.size() != kFixed + 4 * count + 4) return bad;
  const std::string_view body = std::string_view(bytes).substr(0, bytes.size() - 4);
  if (checksum(body) != bytes.substr(bytes.size() - 4)) return bad;
  InviteCode out;
  out.secret = bytes.substr(0, 16);
  out.fingerprint = bytes.substr(16, 16);
  out.port =
      static_cast<uint16_t>(static_cast<uint8_t>(bytes[32]) << 8 | static_cast<uint8_t>(bytes[33]));
  for (size_t i = 0; i < count; ++i) {
    char address[INET_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET, bytes.data() + kFixed + 4 * i, address, sizeof address);
    out.addresses.emplace_back(address);
  }
  return out;
}

}  // namespace exo
