// OutputParser: the decoded stream -> what the client sees: content, thinking, tool calls. It holds
// back text that may be the beginning of a mark or of a stop string, cuts content at the stop
// string that is complete first, and gives a tool call when it is whole and valid; one that is
// broken or never ends comes back as content. One per choice; not thread-safe. Concatenated output
// is independent of how the input was split.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/generation.h"
#include "text/output_syntax.h"
#include "text/string_finder.h"

namespace exo {

// Where parts of the answer go, in the order they were written.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  virtual void content(std::string_view text) = 0;
  virtual void reasoning(std::string_view text) = 0;
  virtual void calls(std::vector<ToolCall> calls) = 0;
};

// Takes the answer apart, byte by byte. Two exist: marks within the text, and gpt-oss' channels.
class OutputSections {
 public:
  virtual ~OutputSections() = default;
  virtual void push(char byte, OutputSink& sink) = 0;
  virtual void finish(OutputSink& sink) = 0;
};
std::unique_ptr<OutputSections> make_marked_sections(const OutputSyntax& syntax, JsonArray tools);
std::unique_ptr<OutputSections> make_channel_sections(JsonArray tools);

struct OutputOptions {
  OutputSyntax syntax;            // none: everything is content
  std::string opened;             // the mark that the prompt ended with
  JsonArray tools;                // those of the request; none: nothing is a call
  std::vector<std::string> stop;  // looked for in the content
};

class OutputParser final : private OutputSink {
 public:
  struct Delta {
    std::string content;
    std::string reasoning;
    std::vector<ToolCall> calls;
    bool stopped = false;  // a stop string was met; nothing follows
  };

  explicit OutputParser(OutputOptions options);
  Delta push(std::string_view text);
  Delta finish();  // releases what was held back

 private:
  void content(std::string_view text) override;
  void reasoning(std::string_view text) override;
  void calls(std::vector<ToolCall> calls) override;

  std::unique_ptr<OutputSections> sections_;  // null: everything is content
  StringFinder stops_;
  std::string held_;  // content that may be the beginning of a stop string
  Delta delta_;       // since the last push
  bool stopped_ = false;
};

}  // namespace exo
