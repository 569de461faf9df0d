#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/unicode.h"

namespace exo {
namespace {

constexpr char32_t kAlphabetEnd = 0x100 + 68;  // 68 bytes have no printable Latin-1 character

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<char32_t, 256> character{};     // of a byte
  std::array<int16_t, kAlphabetEnd> byte{};  // of a character, -1 where there is none
};

constexpr Tables make_tables() {
  Tables tables;
  for (auto& byte : tables.byte) byte = -1;
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t c = stands_for_itself(byte) ? byte : next++;
    tables.character[byte] = c;
    tables.byte[c] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 2);
  for (const char c : bytes) append_char(out, kTables.character[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_char(text, i);
    if (c >= kAlphabetEnd || kTables.byte[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kTables.byte[c]));
  }
  return out;
}

}  // namespace exo
