// OutputParser: the decoded stream -> what the client sees. It holds back text that may be the
// beginning of a stop string, cuts at the one that is complete first, and (later) separates
// thinking and tool calls. One per choice; not thread-safe. Concatenated output is independent of
// how the input was split.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace exo {

class OutputParser {
 public:
  struct Delta {
    std::string content;
    std::string reasoning;
    bool stopped = false;  // a stop string was met; nothing follows
  };

  explicit OutputParser(std::vector<std::string> stop_strings);
  Delta push(std::string_view text);
  Delta finish();  // releases what was held back

 private:
  struct Stop {
    std::string text;
    std::vector<size_t> fallback;  // Knuth-Morris-Pratt: of each length, its longest proper border
    size_t matched = 0;            // bytes of text that the output so far ends with
  };
  static Stop make_stop(std::string text);

  std::vector<Stop> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace exo
