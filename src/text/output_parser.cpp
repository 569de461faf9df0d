#include "text/output_parser.h"

#include <iterator>
#include <utility>

namespace exo {

OutputParser::OutputParser(OutputOptions options) : stops_(std::move(options.stop)) {
  const OutputSyntax& syntax = options.syntax;
  if (syntax.channels) {
    sections_ = make_channel_sections(std::move(options.tools));
  } else if (!syntax.thinking.empty() || !syntax.silent.empty() || !options.tools.empty()) {
    sections_ = make_marked_sections(syntax, std::move(options.tools));
  }
  if (!options.opened.empty()) push(options.opened);
}

OutputParser::Delta OutputParser::push(std::string_view text) {
  if (sections_ == nullptr) content(text);
  for (const char byte : text) {
    if (sections_ == nullptr || stopped_) break;
    sections_->push(byte, *this);
  }
  return std::exchange(delta_, {});
}

OutputParser::Delta OutputParser::finish() {
  if (sections_ != nullptr && !stopped_) sections_->finish(*this);
  delta_.content += std::exchange(held_, std::string());
  delta_.stopped = stopped_;
  stopped_ = true;  // nothing follows
  return std::exchange(delta_, {});
}

void OutputParser::content(std::string_view text) {
  if (stopped_) return;
  if (stops_.empty()) {
    delta_.content += text;
    return;
  }
  for (const char byte : text) {
    held_.push_back(byte);
    const auto met = stops_.push(byte);
    if (!met) continue;
    held_.resize(held_.size() - met->size_bytes);
    delta_.content += std::exchange(held_, std::string());
    stopped_ = delta_.stopped = true;
    return;
  }
  const size_t sure = held_.size() - stops_.pending();
  delta_.content.append(held_, 0, sure);
  held_.erase(0, sure);
}

void OutputParser::reasoning(std::string_view text) {
  if (!stopped_) delta_.reasoning += text;
}

void OutputParser::calls(std::vector<ToolCall> calls) {
  if (stopped_) return;
  delta_.calls.insert(delta_.calls.end(), std::make_move_iterator(calls.begin()),
                      std::make_move_iterator(calls.end()));
}

}  // namespace exo
