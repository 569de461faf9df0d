// What a model may write: any text, under any syntax. However it is split the result is the same,
// and every call has a name and the text of a JSON object as arguments.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/output_parser.h"

namespace {

// Texts that hold the signs of many templates at once.
constexpr std::string_view kSources[] = {
    "</think> <tool_call> <function= <arg_key> [TOOL_CALLS]",
    "</think> <｜tool▁call▁begin｜> <｜tool▁calls▁begin｜> <|tool_call_begin|> <|python_tag|>",
    "<|channel|> <|message|>",
    R"({"name": function name, "parameters": [func_name1(params_name1=params_value1 <|python_tag|>)",
    "<｜DSML｜function_calls> <|tool_call> <|tool_call_start|> <function name= <tool_calls>[",
};

exo::OutputOptions options_for(size_t choice) {
  static const auto plain = exo::ChatTemplate::parse("x").value();
  static const exo::JsonArray tools =
      exo::parse_json(R"([{"type": "function", "function": {"name": "f", "parameters": {
          "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"]}}}}}])")
          .value()
          .get_array();
  exo::OutputOptions options;
  options.syntax = exo::read_output_syntax(kSources[choice % std::size(kSources)], *plain);
  options.tools = tools;
  if (choice % 7 == 0) options.opened = "<think>";
  if (choice % 3 == 0) options.stop = {"end", "nd."};
  return options;
}

struct Seen {
  std::string content, thought, calls;
  bool operator==(const Seen&) const = default;
};

void add(Seen& seen, const exo::OutputParser::Delta& delta) {
  seen.thought += delta.reasoning;
  seen.content += delta.content;
  for (const exo::ToolCall& call : delta.calls) {
    const auto arguments = exo::parse_json(call.arguments);
    CHECK(!call.name.empty() && arguments.ok() && arguments->is_object(), "a call that is none");
    seen.calls += "\x01" + call.id + "\x02" + call.name + "\x03" + call.arguments;
  }
}

Seen parse(const exo::OutputOptions& options, std::string_view text, size_t step) {
  exo::OutputParser parser(options);
  Seen seen;
  for (size_t at = 0; at < text.size(); at += step) add(seen, parser.push(text.substr(at, step)));
  add(seen, parser.finish());
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const exo::OutputOptions options = options_for(data[0]);
  const Seen whole = parse(options, text, size);
  for (const size_t step : {1, 3, 11})
    CHECK(parse(options, text, step) == whole, "the result depends on how the text is split");
  return 0;
}
