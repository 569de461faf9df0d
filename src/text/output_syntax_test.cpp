#include "text/output_syntax.h"

#include <gtest/gtest.h>

#include <random>

#include "text/output_parser.h"
#include "text/template_fixtures.h"

namespace exo {
namespace {

struct Read {
  std::string content, reasoning;
  std::vector<ToolCall> calls;
  bool operator==(const Read& other) const { return shown() == other.shown(); }
  std::string shown() const {
    std::string out = "content<" + content + "> reasoning<" + reasoning + ">";
    for (const ToolCall& call : calls) out += " " + call.id + "/" + call.name + call.arguments;
    return out;
  }
};

void add(Read& read, OutputParser::Delta delta) {
  read.content += delta.content;
  read.reasoning += delta.reasoning;
  for (ToolCall& call : delta.calls) read.calls.push_back(std::move(call));
}

Read parse(const OutputOptions& options, const std::vector<std::string>& parts) {
  OutputParser parser(options);
  Read read;
  for (const std::string& part : parts) add(read, parser.push(part));
  add(read, parser.finish());
  return read;
}

// Whole, byte by byte and in random pieces: always the same.
Read parse_anyhow(const OutputOptions& options, const std::string& text) {
  const Read whole = parse(options, {text});
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  EXPECT_EQ(parse(options, bytes).shown(), whole.shown());
  std::mt19937 random(static_cast<unsigned>(text.size()));
  for (int round = 0; round < 8; ++round) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      parts.push_back(text.substr(at, 1 + random() % 17));
      at += parts.back().size();
    }
    EXPECT_EQ(parse(options, parts).shown(), whole.shown());
  }
  return whole;
}

JsonArray weather_tools() {
  return parse_json(R"([{"type": "function", "function": {"name": "weather", "parameters": {
      "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"},
      "deep": {"type": "object"}}}}},
      {"type": "function", "function": {"name": "now"}}])")
      .value()
      .get_array();
}

// Of a template that holds `source` as text.
OutputOptions options_for(const std::string& source) {
  const auto plain = ChatTemplate::parse("x").value();
  return {read_output_syntax(source, *plain), "", weather_tools(), {}};
}

std::string read(const std::string& source, const std::string& text) {
  return parse_anyhow(options_for(source), text).shown();
}

TEST(OutputSyntax, Thinking) {
  const std::string source = "...</think>...";
  EXPECT_EQ(read(source, "<think>\nso\n\nso\n</think>\n\nYes.\n"),
            "content<Yes.\n> reasoning<so\n\nso>");
  EXPECT_EQ(read(source, "<think>\n\n</think>\n\nYes."), "content<Yes.> reasoning<>");
  EXPECT_EQ(read(source, "<think>never ends </thi"), "content<> reasoning<never ends </thi>");
  EXPECT_EQ(read(source, " a <thin> b "), "content< a <thin> b > reasoning<>");
  EXPECT_EQ(read("", "<think>a</think>b"), "content<<think>a</think>b> reasoning<>");
  EXPECT_EQ(read("[/THINK]", "[THINK]a[/THINK]b"), "content<b> reasoning<a>");
}

TEST(OutputSyntax, ThinkingThatThePromptOpened) {
  OutputOptions options = options_for("...</think>...");
  options.opened = options.syntax.opened_by("<|assistant|><think>\n");
  EXPECT_EQ(options.opened, "<think>");
  EXPECT_EQ(parse_anyhow(options, "hm\n</think>\n\nYes").shown(), "content<Yes> reasoning<hm>");
  EXPECT_EQ(options.syntax.opened_by("<think>\n\n</think>\n\n"), "");
}

TEST(OutputSyntax, HermesCalls) {
  const std::string source = "<tool_call> </think>";
  EXPECT_EQ(read(source,
                 "<think>a</think>Let me look.\n<tool_call>\n{\"name\": \"weather\", "
                 "\"arguments\": {\"city\": \"a </tool_call> b\", \"days\": 1e400}}\n</tool_call>\n"
                 "<tool_call>{\"arguments\":{},\"name\":\"now\"}</tool_call>"),
            "content<Let me look.> reasoning<a> "
            "/weather{\"city\": \"a </tool_call> b\", \"days\": 1e400} /now{}");
}

TEST(OutputSyntax, WhatIsNoCallIsContent) {
  const std::string source = "<tool_call>";
  for (const std::string text :
       {"<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Os", "<tool_call>",
        "a <tool_call>{\"name\": }</tool_call> b", "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"now\", \"arguments\": 3}</tool_call>", "<tool_call>[]</tool_call>",
        "<tool_call>what is this</tool_call>", "<tool_call>now</tool_cal",
        "<tool_call><function=now><parameter=a>1</tool_call>",
        "<tool_call>weather<arg_key>city</arg_key><arg_value>Os</tool_call>"})
    EXPECT_EQ(read(source, text), "content<" + text + "> reasoning<>");
}

TEST(OutputSyntax, WithoutToolsNothingIsACall) {
  OutputOptions options = options_for("<tool_call> </think>");
  options.tools.clear();
  EXPECT_EQ(parse_anyhow(options, "<tool_call>{\"name\":\"now\"}</tool_call>").shown(),
            "content<<tool_call>{\"name\":\"now\"}</tool_call>> reasoning<>");
}

TEST(OutputSyntax, TaggedCalls) {
  const std::string expected =
      "content<> reasoning<> /weather{\"city\": \"7\", \"days\": 2, \"deep\": {\"a\": null}}";
  EXPECT_EQ(read("<tool_call> <function=",
                 "<tool_call>\n<function=weather>\n<parameter=city>\n7\n</parameter>\n"
                 "<parameter=days>\n2\n</parameter>\n<parameter=deep>\n{'a': None}\n</parameter>\n"
                 "</function>\n</tool_call>"),
            expected);
  EXPECT_EQ(read("<function=",
                 "<function=weather>\n<parameter=city>\n7\n<parameter=days>\n2\n</parameter>\n"
                 "<parameter=deep>{\"a\": null}</parameter></function>"),
            expected);
  EXPECT_EQ(read("<arg_key> <tool_call>",
                 "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>7</arg_value>\n"
                 "<arg_key>days</arg_key><arg_value>2</arg_value><arg_key>deep</arg_key>"
                 "<arg_value>{\"a\": null}</arg_value>\n</tool_call>"),
            expected);
  EXPECT_EQ(read("<｜DSML｜function_calls>",
                 "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n"
                 "<｜DSML｜parameter name=\"city\" string=\"true\">7</｜DSML｜parameter>\n"
                 "<｜DSML｜parameter name=\"days\" string=\"false\">2</｜DSML｜parameter>\n"
                 "<｜DSML｜parameter name=\"deep\" string=\"false\">{\"a\": "
                 "null}</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"),
            expected);
  EXPECT_EQ(read("<function=", "<function=weather>{\"city\": 1.50}</function>"),
            "content<> reasoning<> /weather{\"city\": 1.50}");
}

TEST(OutputSyntax, Llama) {
  const std::string json = R"(Respond in the format {"name": function name, "parameters": x})";
  EXPECT_EQ(read(json, "\n{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}"),
            "content<> reasoning<> /weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(read(json, "{\"name\": \"Ada\", \"parameters\": {}}"),  // no tool: an answer in JSON
            "content<{\"name\": \"Ada\", \"parameters\": {}}> reasoning<>");
  EXPECT_EQ(read(json, "So: {\"name\": \"now\"}"), "content<So: {\"name\": \"now\"}> reasoning<>");
  EXPECT_EQ(read("<|python_tag|>", "<|python_tag|>weather.call(city='O\\'s', days=2)"),
            "content<> reasoning<> /weather{\"city\": \"O's\", \"days\": 2}");
  EXPECT_EQ(read("<|python_tag|>", "<|python_tag|>weather.call(city=\"{x\", deep={'a': [1]})"),
            "content<> reasoning<> /weather{\"city\": \"{x\", \"deep\": {\"a\": [1]}}");
  const std::string long_text(2000, 'x');
  EXPECT_EQ(read("<|python_tag|>", "<|python_tag|>weather.call(city='" + long_text + "')"),
            "content<> reasoning<> /weather{\"city\": \"" + long_text + "\"}");
  EXPECT_EQ(read("<|python_tag|>", "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}"),
            "content<> reasoning<> /now{}");
  const std::string list = "[func_name1(params_name1=params_value1, ...)]";
  EXPECT_EQ(
      read(list, "[weather(city=\"[x\", deep={'a': [True, None]}), now()]"),
      "content<> reasoning<> /weather{\"city\": \"[x\", \"deep\": {\"a\": [true, null]}} /now{}");
  EXPECT_EQ(read(list, "[1, 2] are numbers"), "content<[1, 2] are numbers> reasoning<>");
}

TEST(OutputSyntax, Mistral) {
  EXPECT_EQ(read("[TOOL_CALLS]",
                 "Well.[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}, "
                 "\"id\": \"abcdefghi\"}, {\"name\": \"weather\", "
                 "\"arguments\": \"{\\\"city\\\": 1}\"}]"),
            "content<Well.> reasoning<> abcdefghi/now{} /weather{\"city\": 1}");
  EXPECT_EQ(read("[TOOL_CALLS]",
                 "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]weather[CALL_ID]abcdefghi"
                 "[ARGS]{\"city\": \"[TOOL_CALLS]\"}"),
            "content<> reasoning<> /now{} abcdefghi/weather{\"city\": \"[TOOL_CALLS]\"}");
}

TEST(OutputSyntax, DeepSeekAndKimi) {
  const std::string deepseek = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
  EXPECT_EQ(read(deepseek,
                 "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
                 "weather\n```json\n{\"city\": \"Oslo\"}\n```<｜tool▁call▁end｜>\n"
                 "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
                 "<｜tool▁calls▁end｜>"),
            "content<Hm.> reasoning<> /weather{\"city\": \"Oslo\"} /now{}");
  EXPECT_EQ(read("<|tool_calls_section_begin|> <|tool_call_begin|>",
                 "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0"
                 "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"),
            "content<> reasoning<> functions.now:0/now{}");
}

TEST(OutputSyntax, Channels) {
  const std::string source = "<|start|><|channel|><|message|>";
  EXPECT_EQ(read(source,
                 "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>"
                 "commentary<|message|>Looking.<|end|><|start|>assistant<|channel|>"
                 "commentary to=functions.weather <|constrain|>json<|message|>"
                 "{\"city\": \"Oslo\"}<|call|>"),
            "content<Looking.> reasoning<Hm.> /weather{\"city\": \"Oslo\"}");
  EXPECT_EQ(read(source, " to=functions.now<|channel|>commentary json<|message|>{}"),
            "content<> reasoning<> /now{}");
  EXPECT_EQ(read(source, "<|channel|>final<|message|>4 < 5<|en"), "content<4 < 5<|en> reasoning<>");
  EXPECT_EQ(read(source, "<|channel|>commentary to=functions.now<|message|>{\"a\": "),
            "content<{\"a\": > reasoning<>");
  EXPECT_EQ(read(source, "Just an answer."), "content<Just an answer.> reasoning<>");
  EXPECT_EQ(read(source, "assistant"), "content<assistant> reasoning<>");  // no header after all
  EXPECT_EQ(read(source, "<|channel|>commentary to=functions.<|message|>{}"),
            "content<{}> reasoning<>");
}

TEST(OutputSyntax, StopStringsAreLookedForInTheAnswer) {
  OutputOptions options = options_for("</think> <tool_call>");
  options.stop = {"END", "</think>"};
  EXPECT_EQ(parse_anyhow(options, "<think>END</think>a END b<tool_call>{\"name\":\"now\"}").shown(),
            "content<a > reasoning<END>");
}

TEST(OutputSyntax, MarksAreShownAlthoughTheyAreSpecialTokens) {
  Vocabulary vocabulary{{"<|im_end|>", "[TOOL_CALLS]", "a", "[ARGS]", "[/THINK]"},
                        {true, true, false, true, true}};
  const auto shown = options_for("[TOOL_CALLS]").syntax.shown_tokens(vocabulary);
  EXPECT_EQ(shown, (std::vector<bool>{false, true, false, true, false}));
}

// What a template writes as the model's turn is read back as the calls that went in.
TEST(OutputSyntax, ReadsBackWhatPublishedTemplatesWrite) {
  if (!have_template_fixtures()) GTEST_SKIP() << "no template fixtures (set EXO_FIXTURES)";
  const auto conversations = template_conversations();
  size_t read_back = 0;
  for (const auto& [name, source] : published_templates()) {
    const auto parsed = ChatTemplate::parse(source).value();
    for (const std::string conversation : {"tool_call", "parallel_tool_calls+gen"}) {
      SCOPED_TRACE(name + " / " + conversation);
      ChatTemplateInput input = conversations.at(conversation);
      const JsonArray messages = input.messages.get_array();
      input.add_generation_prompt = true;
      input.messages = JsonArray{messages.at(0)};
      const auto prompt = parsed->render(input);
      input.add_generation_prompt = false;
      input.messages = JsonArray{messages.at(0), messages.at(1)};
      const auto with_turn = parsed->render(input);
      if (!prompt.ok() || !with_turn.ok()) continue;
      size_t common = 0;
      while (common < prompt->size() && (*prompt)[common] == (*with_turn)[common]) ++common;
      if (common < prompt->size())
        common = std::min(common, prompt->rfind('<', common));  // not amid a mark
      const std::string turn = with_turn->substr(common);
      if (turn.find("Oslo") == std::string::npos) continue;  // the template leaves calls out
      OutputOptions options{read_output_syntax(source, *parsed), "", input.tools.get_array(), {}};
      if (common == prompt->size()) options.opened = options.syntax.opened_by(*prompt);
      const Read read = parse_anyhow(options, turn);
      const JsonArray& wanted = messages.at(1).at("tool_calls").get_array();
      const bool both = turn.find("Bern") != std::string::npos;  // some templates write one
      EXPECT_EQ(read.calls.size(), both ? 2u : 1u) << turn << "\n" << read.shown();
      for (size_t i = 0; i < std::min(read.calls.size(), wanted.size()); ++i) {
        const Json& function = wanted[i].at("function");
        EXPECT_EQ(read.calls[i].name, std::string(function.at("name").get_string()));
        EXPECT_EQ(parse_json(read.calls[i].arguments).value(), function.at("arguments"))
            << read.calls[i].arguments;
      }
      ++read_back;
    }
  }
  EXPECT_GT(read_back, 40u);
}

}  // namespace
}  // namespace exo
