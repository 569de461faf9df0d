// StringFinder: looks for several fixed strings in a stream of bytes, one byte at a time
// (Knuth-Morris-Pratt for each). Plain state of one stream, not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace exo {

class StringFinder {
 public:
  StringFinder() = default;
  explicit StringFinder(std::vector<std::string> strings);  // empty ones are left out
  bool empty() const { return strings_.empty(); }

  // What is complete with this byte; of several that end here the longest.
  struct Match {
    size_t index = 0;  // among those given
    size_t size_bytes = 0;
  };
  std::optional<Match> push(char byte);
  // Bytes at the end of the stream that may be the beginning of one.
  size_t pending() const;
  void reset();

 private:
  struct Wanted {
    std::string text;
    size_t index = 0;
    std::vector<size_t> fallback;  // of each length, its longest proper border
    size_t matched = 0;
  };
  std::vector<Wanted> strings_;
};

}  // namespace exo
