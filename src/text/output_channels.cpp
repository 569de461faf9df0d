// gpt-oss' answers are messages with a header: [<|start|>assistant][ to=RECIPIENT]<|channel|>NAME
// [ to=RECIPIENT][<|constrain|>json]<|message|>TEXT<|end|>. The channel "analysis" is thinking, a
// recipient "functions.NAME" makes the text a call's arguments, the rest is for people.
#include <algorithm>
#include <utility>

#include "text/output_parser.h"
#include "text/tool_calls.h"

namespace exo {
namespace {

constexpr size_t kMaxHeaderBytes = 1024;
constexpr std::string_view kChannel = "<|channel|>", kMessage = "<|message|>";
constexpr std::string_view kRecipient = "to=", kFunctions = "functions.";

// What stands behind `mark`, up to white space or another mark.
std::string_view word_after(std::string_view header, std::string_view mark) {
  const size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view behind = header.substr(at + mark.size());
  return behind.substr(0, behind.find_first_of(" \t\r\n<"));
}

// A model that was not taught channels answers at once.
bool may_be_header(std::string_view header) {
  header = header.substr(std::min(header.size(), header.find_first_not_of(" \r\n")));
  for (const std::string_view start :
       {std::string_view("<|"), kRecipient, std::string_view("assistant")})
    if (header.substr(0, start.size()) == start.substr(0, header.size())) return true;
  return false;
}

class ChannelSections final : public OutputSections {
 public:
  explicit ChannelSections(JsonArray tools)
      : tools_(std::move(tools)),
        ends_({"<|end|>", "<|call|>", "<|return|>", "<|start|>", std::string(kChannel)}) {}

  void push(char byte, OutputSink& sink) override {
    if (part_ == Part::header) return push_header(byte, sink);
    held_ += byte;
    const auto met = ends_.push(byte);
    const size_t keep = met ? met->size_bytes : ends_.pending();
    const std::string sure = held_.substr(0, held_.size() - keep);
    held_.erase(0, sure.size());
    write(sure, sink);
    if (!met) return;
    settle(sink);
    header_ = std::exchange(held_, std::string());
    ends_.reset();
    part_ = Part::header;
  }

  void finish(OutputSink& sink) override {
    if (part_ == Part::header) {
      // Nothing was said under it; unless it was no header but all that was said.
      if (any_ || header_.find("<|") != std::string::npos) return;
      part_ = Part::content;
      return write(header_, sink);
    }
    write(std::exchange(held_, std::string()), sink);
    settle(sink);
  }

 private:
  enum class Part { header, content, reasoning, call };

  void push_header(char byte, OutputSink& sink) {
    header_ += byte;
    if (header_.ends_with(kMessage)) return open();
    const bool between = any_;  // messages: what is no header there is not shown
    if (header_.size() <= kMaxHeaderBytes && (between || may_be_header(header_))) return;
    part_ = Part::content;
    write(std::exchange(header_, std::string()), sink);
  }

  void open() {
    const std::string header = std::exchange(header_, std::string());
    const std::string_view recipient = word_after(header, kRecipient);
    part_ = word_after(header, kChannel) == "analysis" ? Part::reasoning : Part::content;
    name_ = recipient.starts_with(kFunctions) ? recipient.substr(kFunctions.size()) : "";
    if (!name_.empty() && !tools_.empty()) part_ = Part::call;
    any_ = true;
    first_of_message_ = true;
  }

  void write(std::string_view text, OutputSink& sink) {
    if (text.empty()) return;
    const bool again = std::exchange(first_of_message_, false);
    if (part_ == Part::call) {
      arguments_ += text;
    } else if (part_ == Part::reasoning) {
      sink.reasoning(again && std::exchange(thought_, true) ? "\n\n" : "");
      sink.reasoning(text);
    } else {
      sink.content(again && std::exchange(said_, true) ? "\n\n" : "");
      sink.content(text);
    }
  }

  void settle(OutputSink& sink) {
    if (part_ != Part::call) return;
    std::string arguments = std::exchange(arguments_, std::string());
    if (arguments.find_first_not_of(" \r\n") == std::string::npos) arguments = "{}";
    const auto parsed = parse_json(arguments);
    if (parsed.ok() && parsed->is_object()) return sink.calls({{"", name_, std::move(arguments)}});
    sink.content(arguments);
  }

  JsonArray tools_;
  StringFinder ends_;
  Part part_ = Part::header;
  std::string header_, held_, name_, arguments_;
  bool any_ = false;  // a message came
  bool first_of_message_ = false, thought_ = false, said_ = false;
};

}  // namespace

std::unique_ptr<OutputSections> make_channel_sections(JsonArray tools) {
  return std::make_unique<ChannelSections>(std::move(tools));
}

}  // namespace exo
