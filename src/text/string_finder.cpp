#include "text/string_finder.h"

#include <algorithm>
#include <utility>

namespace exo {
namespace {

// How much of `text` is matched after one more byte.
size_t advance(const std::string& text, const std::vector<size_t>& fallback, size_t matched,
               char byte) {
  while (matched > 0 && (matched == text.size() || text[matched] != byte))
    matched = fallback[matched];
  return text[matched] == byte ? matched + 1 : 0;
}

}  // namespace

StringFinder::StringFinder(std::vector<std::string> strings) {
  for (size_t index = 0; index < strings.size(); ++index) {
    if (strings[index].empty()) continue;
    Wanted wanted{std::move(strings[index]), index, {0, 0}, 0};
    for (size_t length = 1; length < wanted.text.size(); ++length)
      wanted.fallback.push_back(
          advance(wanted.text, wanted.fallback, wanted.fallback.back(), wanted.text[length]));
    strings_.push_back(std::move(wanted));
  }
}

std::optional<StringFinder::Match> StringFinder::push(char byte) {
  std::optional<Match> found;
  for (Wanted& wanted : strings_) {
    wanted.matched = advance(wanted.text, wanted.fallback, wanted.matched, byte);
    if (wanted.matched == wanted.text.size() && (!found || wanted.matched > found->size_bytes))
      found = Match{wanted.index, wanted.matched};
  }
  return found;
}

size_t StringFinder::pending() const {
  size_t longest = 0;
  for (const Wanted& wanted : strings_) longest = std::max(longest, wanted.matched);
  return longest;
}

void StringFinder::reset() {
  for (Wanted& wanted : strings_) wanted.matched = 0;
}

}  // namespace exo
