// Thinking and tool calls as marks within the text: <think>...</think>, <tool_call>...</tool_call>
// and their like.
#include <algorithm>
#include <optional>
#include <utility>

#include "text/literals.h"
#include "text/output_parser.h"
#include "text/tool_calls.h"

namespace exo {
namespace {

constexpr size_t kMaxHeadBytes = 512;  // of a call's name before its brackets

// White space beside a mark belongs to nobody: it is passed on only between other text.
class Trimmed {
 public:
  explicit Trimmed(bool keep_leading) : started_(keep_leading) {}

  std::string push(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (is_space(c)) {
        if (started_) spaces_ += c;
        continue;
      }
      out += std::exchange(spaces_, std::string());
      out += c;
      started_ = true;
    }
    return out;
  }
  std::string finish() { return std::exchange(spaces_, std::string()); }
  void begin_again() {
    spaces_.clear();
    started_ = false;
  }

 private:
  std::string spaces_;
  bool started_;
};

// Follows brackets and quotes, of JSON and of Python alike.
class Brackets {
 public:
  // True when the bracket that was opened first is closed.
  bool push(char c) {
    if (quote_ != '\0') {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == quote_) {
        quote_ = '\0';
      }
      return false;
    }
    if (c == '"' || c == '\'') quote_ = c;
    if (c == '{' || c == '[' || c == '(') ++depth_;
    if (c != '}' && c != ']' && c != ')') return false;
    return --depth_ <= 0;
  }

 private:
  int depth_ = 0;
  char quote_ = '\0';
  bool escaped_ = false;
};

// A call that ends with the answer, without its closing mark: could more have followed?
bool may_be_whole(std::string_view body) {
  body = body.substr(0, body.find_last_not_of(" \t\r\n") + 1);
  constexpr std::string_view kEnds[] = {"}", "]", ")", "```", "</function>", "invoke>"};
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return body.ends_with(end); });
}

// Collects one call, from behind its opening mark to behind its closing one.
class CallCollector {
 public:
  enum class State { more, done, broken };

  explicit CallCollector(std::string end) : end_(std::move(end)), finder_({end_}) {}

  State push(char byte) {
    raw_ += byte;
    if (phase_ == Phase::head) head(byte);
    switch (phase_) {
      case Phase::head:
        return raw_.size() > kMaxHeadBytes && end_.empty() ? State::broken : State::more;
      case Phase::marked:
        if (!finder_.push(byte)) return State::more;
        body_bytes_ = raw_.size() - end_.size();
        return State::done;
      case Phase::value:
        if (!brackets_.push(byte)) return State::more;
        tail_begin_ = body_bytes_ = raw_.size();
        phase_ = Phase::tail;
        return end_.empty() ? State::done : State::more;
      case Phase::tail:
        return tail();
    }
    return State::broken;
  }

  std::string_view body() const {
    return std::string_view(raw_).substr(0, body_bytes_ > 0 ? body_bytes_ : raw_.size());
  }
  // What came behind a call that was not closed as it should be.
  std::string_view left_over() const { return std::string_view(raw_).substr(raw_.size() - extra_); }
  const std::string& raw() const { return raw_; }

 private:
  enum class Phase { head, value, marked, tail };

  // A value in brackets ends with them; what has a name before it, at the closing mark.
  void head(char byte) {
    if (is_space(byte)) {
      if (!end_.empty()) finder_.push(byte);
      return;
    }
    const bool first = raw_.find_first_not_of(" \t\r\n") == raw_.size() - 1;
    // f(x={...}): all of it is the call, the head included.
    if (byte == '{' || (byte == '(' && end_.empty()) || (first && byte == '[')) {
      if (end_.empty() || first) phase_ = Phase::value;
    }
    if (phase_ == Phase::head && !end_.empty()) phase_ = Phase::marked;
  }

  State tail() {
    while (tail_begin_ < raw_.size() && is_space(raw_[tail_begin_])) ++tail_begin_;
    const std::string_view behind = std::string_view(raw_).substr(tail_begin_);
    if (behind == end_) return State::done;
    if (std::string_view(end_).starts_with(behind)) return State::more;
    extra_ = raw_.size() - body_bytes_;
    return State::done;
  }

  std::string end_;
  StringFinder finder_;
  Brackets brackets_;
  Phase phase_ = Phase::head;
  std::string raw_;
  size_t body_bytes_ = 0, tail_begin_ = 0, extra_ = 0;
};

class MarkedSections final : public OutputSections {
 public:
  MarkedSections(const OutputSyntax& syntax, JsonArray tools) : tools_(std::move(tools)) {
    std::vector<std::string> begins;
    for (const OutputSyntax::Pair& pair : syntax.thinking) add({Mark::thinking, pair}, begins);
    for (const std::string& mark : syntax.silent) add({Mark::silent, {mark, ""}}, begins);
    if (!tools_.empty()) {
      for (const OutputSyntax::Pair& pair : syntax.calls) add({Mark::call, pair}, begins);
      bare_brackets_ = std::string(syntax.bare_json ? "{" : "") + (syntax.bare_list ? "[" : "");
    }
    begins_ = StringFinder(std::move(begins));
  }

  void push(char byte, OutputSink& sink) override {
    switch (state_) {
      case State::content:
        return push_content(byte, sink);
      case State::thinking:
        return push_thinking(byte, sink);
      case State::call:
        return push_call(byte, sink);
    }
  }

  void finish(OutputSink& sink) override {
    if (state_ == State::thinking) sink.reasoning(thought_.push(held_));
    if (state_ == State::call) settle_call(sink, true);
    if (state_ == State::content) sink.content(text_.push(held_) + text_.finish());
    held_.clear();
  }

 private:
  enum class State { content, thinking, call };
  struct Mark {
    enum Kind { thinking, call, silent } kind;
    OutputSyntax::Pair pair;
  };

  void add(Mark mark, std::vector<std::string>& begins) {
    begins.push_back(mark.pair.begin);
    marks_.push_back(std::move(mark));
  }

  // Everything but what may be the beginning of a mark.
  std::string release(const StringFinder& finder, size_t mark_bytes) {
    const size_t keep = mark_bytes > 0 ? mark_bytes : finder.pending();
    std::string sure = held_.substr(0, held_.size() - keep);
    held_.erase(0, mark_bytes > 0 ? held_.size() : sure.size());
    return sure;
  }

  void push_content(char byte, OutputSink& sink) {
    if (only_space_ && bare_brackets_.find(byte) != std::string::npos)
      return begin_call({Mark::call, {"", ""}}, byte, sink);
    held_ += byte;
    only_space_ = only_space_ && is_space(byte);
    const auto met = begins_.push(byte);
    sink.content(text_.push(release(begins_, met ? met->size_bytes : 0)));
    if (!met) return;
    const Mark& mark = marks_[met->index];
    if (mark.kind == Mark::call) return begin_call(mark, '\0', sink);
    begins_.reset();
    text_.begin_again();
    only_space_ = true;
    if (mark.kind == Mark::silent) return;
    state_ = State::thinking;
    ends_ = StringFinder({mark.pair.end});
    thought_ = Trimmed(false);
  }

  void push_thinking(char byte, OutputSink& sink) {
    held_ += byte;
    const auto met = ends_.push(byte);
    sink.reasoning(thought_.push(release(ends_, met ? met->size_bytes : 0)));
    if (!met) return;
    state_ = State::content;
    text_.begin_again();
    only_space_ = true;
  }

  void begin_call(const Mark& mark, char first, OutputSink& sink) {
    state_ = State::call;
    begins_.reset();
    opening_ = mark.pair.begin;
    collector_.emplace(mark.pair.end);
    if (opening_.starts_with("<function"))  // the mark is a part of the call
      for (const char c : std::exchange(opening_, std::string())) collector_->push(c);
    if (first != '\0') push_call(first, sink);
  }

  void push_call(char byte, OutputSink& sink) {
    if (collector_->push(byte) != CallCollector::State::more) settle_call(sink);
  }

  // The call is complete, or as complete as it will ever be.
  void settle_call(OutputSink& sink, bool cut_off = false) {
    const CallCollector collector = *std::exchange(collector_, std::nullopt);
    state_ = State::content;
    std::optional<std::vector<ToolCall>> calls;
    if (!cut_off || may_be_whole(collector.body()))
      calls = read_tool_calls(collector.body(), tools_);
    const bool bare = opening_.empty() && !collector.body().starts_with('<');
    if (calls && bare && !all_known(*calls)) calls.reset();
    if (!calls) {
      only_space_ = false;
      sink.content(text_.push(opening_ + collector.raw()));
      return;
    }
    sink.calls(*std::move(calls));
    text_.begin_again();
    only_space_ = true;
    for (const char byte : collector.left_over()) push(byte, sink);
  }

  bool all_known(const std::vector<ToolCall>& calls) const {
    return std::all_of(calls.begin(), calls.end(),
                       [&](const ToolCall& call) { return has_tool(tools_, call.name); });
  }

  JsonArray tools_;
  std::vector<Mark> marks_;
  std::string bare_brackets_;  // that open a call without a mark
  StringFinder begins_, ends_;
  State state_ = State::content;
  std::string held_;
  Trimmed text_{true}, thought_{false};
  bool only_space_ = true;  // since the beginning, a mark or a call
  std::string opening_;     // of the call
  std::optional<CallCollector> collector_;
};

}  // namespace

std::unique_ptr<OutputSections> make_marked_sections(const OutputSyntax& syntax, JsonArray tools) {
  return std::make_unique<MarkedSections>(syntax, std::move(tools));
}

}  // namespace exo
