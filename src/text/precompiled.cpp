#include "text/precompiled.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include "base/base64.h"
#include "text/unicode.h"

namespace exo {
namespace {

// A grapheme of more bytes than this is normalized character by character.
constexpr size_t kMaxGraphemeBytes = 5;

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 4; i > 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[at + i - 1]);
  return value;
}

// The fields of a unit of the double array.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t leaf_value(uint32_t unit) { return unit & ~(1u << 31); }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

// Where the grapheme that begins at `begin` ends.
size_t grapheme_end(std::string_view text, size_t begin) {
  size_t end = begin;
  utf8proc_int32_t state = 0;
  auto last = static_cast<utf8proc_int32_t>(next_char(text, end));
  while (end < text.size()) {
    size_t next = end;
    const auto c = static_cast<utf8proc_int32_t>(next_char(text, next));
    if (utf8proc_grapheme_break_stateful(last, c, &state)) break;
    last = c;
    end = next;
  }
  return end;
}

}  // namespace

Result<PrecompiledCharsmap> PrecompiledCharsmap::parse(std::string_view base64) {
  PrecompiledCharsmap map;
  const auto bytes = from_base64(base64);
  if (!bytes) return corrupt("precompiled_charsmap is not base64");
  if (bytes->empty()) return map;
  const size_t trie_bytes = bytes->size() < 4 ? 0 : read_u32(*bytes, 0);
  if (bytes->size() < 4 || trie_bytes > bytes->size() - 4 || trie_bytes % 4 != 0) {
    return corrupt(fmt::format("precompiled_charsmap has {} bytes, too few for its trie of {}",
                               bytes->size(), trie_bytes));
  }
  for (size_t at = 0; at < trie_bytes; at += 4) map.trie_.push_back(read_u32(*bytes, 4 + at));
  map.replacements_ = repaired_utf8(std::string_view(*bytes).substr(4 + trie_bytes));
  return map;
}

std::optional<std::string_view> PrecompiledCharsmap::replacement(std::string_view text) const {
  if (trie_.empty()) return std::nullopt;
  size_t node = offset(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || label(trie_[node]) != byte) return std::nullopt;
    const uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (node >= trie_.size()) return std::nullopt;
    if (!has_leaf(unit)) continue;
    const size_t begin = leaf_value(trie_[node]);
    const bool inside = begin <= replacements_.size() &&
                        (begin == replacements_.size() || is_char_start(replacements_[begin]));
    if (!inside) return std::nullopt;
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string PrecompiledCharsmap::apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = grapheme_end(text, at);
    if (end - at <= kMaxGraphemeBytes) {
      if (const auto whole = replacement(text.substr(at, end - at))) {
        out += *whole;
        at = end;
        continue;
      }
    }
    while (at < end) {
      size_t next = at;
      next_char(text, next);
      const std::string_view character = text.substr(at, next - at);
      out += replacement(character).value_or(character);
      at = next;
    }
  }
  return out;
}

}  // namespace exo
