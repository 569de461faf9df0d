// Unicode as the tokenizers need it: UTF-8 in and out, character classes, normal forms. Pure
// functions, thread-safe. Except for valid_utf8() and Utf8Repair every function expects valid
// UTF-8; repaired_utf8() makes it so at the door, once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace exo {

bool valid_utf8(std::string_view bytes);
// Each maximal broken part becomes one U+FFFD (the Unicode standard's recommended practice).
std::string repaired_utf8(std::string_view bytes);

// Bytes in pieces -> whole characters: what push() appends never ends in the middle of one. All
// appended text together, with finish(), equals repaired_utf8() of all bytes.
class Utf8Repair {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);

 private:
  std::string partial_;  // at most three bytes: the valid beginning of a character
};

// The character at `position`, which moves behind it.
char32_t next_char(std::string_view text, size_t& position);
size_t previous_char_start(std::string_view text, size_t end);  // of the character before `end`
void append_char(std::string& out, char32_t character);
inline bool is_char_start(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

bool is_white_space(char32_t character);        // the property White_Space
bool is_numeric(char32_t character);            // Nd, Nl, No
bool is_punctuation(char32_t character);        // P*, and all of ASCII's punctuation and symbols
bool is_word(char32_t character);               // \w as Unicode defines it for regular expressions
bool is_mark(char32_t character);               // M*
bool is_nonspacing_mark(char32_t character);    // Mn
bool is_control_or_format(char32_t character);  // Cc, Cf, Co

void append_lower(std::string& out, char32_t character);  // full mapping, without context

enum class NormalForm { nfc, nfd, nfkc, nfkd };
// Linear but for the sorting of runs of combining marks, which is O(n log n).
std::string to_normal_form(std::string_view text, NormalForm form);

}  // namespace exo
