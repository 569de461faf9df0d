// GPT-2's alphabet: each of the 256 bytes written as one printable character, so that any bytes can
// stand in a text vocabulary. Pure functions, thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exo {

std::string to_byte_alphabet(std::string_view bytes);
// nullopt where a character is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace exo
