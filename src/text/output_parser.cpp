#include "text/output_parser.h"

#include <algorithm>
#include <utility>

namespace exo {
namespace {

// How much of `pattern` is matched after one more byte.
size_t advance(const std::string& pattern, const std::vector<size_t>& fallback, size_t matched,
               char byte) {
  while (matched > 0 && (matched == pattern.size() || pattern[matched] != byte))
    matched = fallback[matched];
  return pattern[matched] == byte ? matched + 1 : 0;
}

}  // namespace

OutputParser::Stop OutputParser::make_stop(std::string text) {
  Stop stop{std::move(text), {0, 0}, 0};
  for (size_t length = 1; length < stop.text.size(); ++length) {
    stop.fallback.push_back(
        advance(stop.text, stop.fallback, stop.fallback.back(), stop.text[length]));
  }
  return stop;
}

OutputParser::OutputParser(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings)
    if (!text.empty()) stops_.push_back(make_stop(std::move(text)));
}

OutputParser::Delta OutputParser::push(std::string_view text) {
  Delta delta;
  if (stopped_) return delta;
  for (const char byte : text) {
    held_.push_back(byte);
    size_t complete = 0;  // of those that end here the longest counts
    for (Stop& stop : stops_) {
      stop.matched = advance(stop.text, stop.fallback, stop.matched, byte);
      if (stop.matched == stop.text.size()) complete = std::max(complete, stop.matched);
    }
    if (complete == 0) continue;
    held_.resize(held_.size() - complete);
    stopped_ = delta.stopped = true;
    delta.content = std::exchange(held_, std::string());
    return delta;
  }
  size_t keep = 0;
  for (const Stop& stop : stops_) keep = std::max(keep, stop.matched);
  delta.content = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return delta;
}

OutputParser::Delta OutputParser::finish() {
  Delta delta;
  delta.content = std::exchange(held_, std::string());
  delta.stopped = stopped_;
  stopped_ = true;  // nothing follows
  return delta;
}

}  // namespace exo
