#include "text/output_syntax.h"

#include <algorithm>
#include <initializer_list>

namespace exo {
namespace {

// A row counts where the template has its sign.
struct PairRow {
  std::string_view sign, begin, end;
};

constexpr PairRow kThinking[] = {
    {"</think>", "<think>", "</think>"},
    {"</seed:think>", "<seed:think>", "</seed:think>"},
    {"[/THINK]", "[THINK]", "[/THINK]"},
    {"<|END_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"},
    {"<|inner_suffix|>", "<|inner_prefix|>", "<|inner_suffix|>"},
    {"<|channel>thought", "<|channel>thought\n", "<channel|>"},
    {"[BEGIN FINAL RESPONSE]", "Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"},
};

constexpr PairRow kCalls[] = {
    {"<tool_call>", "<tool_call>", "</tool_call>"},         // Hermes, Qwen, GLM
    {"<tool_calls>[", "<tool_calls>", "</tool_calls>"},     // Apriel
    {"<function=", "<function=", "</function>"},            // Qwen3-Coder, Llama 3.1
    {"<function name=", "<function name=", "</function>"},  // MiniCPM
    {"[TOOL_CALLS]", "[TOOL_CALLS]", ""},                   // Mistral, old and new
    {"<｜tool▁call▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"},  // DeepSeek R1, V3
    {"<｜DSML｜function_calls>", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>"},
    {"<｜DSML｜tool_calls>", "<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"},
    {"<|tool_call_begin|>", "<|tool_call_begin|>", "<|tool_call_end|>"},  // Kimi
    {"<|tool_call_start|>", "<|tool_call_start|>", "<|tool_call_end|>"},  // LFM2
    {"<|tool_list_start|>", "<|tool_call_start|>", "<|tool_call_end|>"},
    {"<|/tool_call|>", "<|tool_call|>", "<|/tool_call|>"},         // Phi-4-mini
    {"<|tool_call|>", "<|tool_call|>", ""},                        // Granite 3
    {"<|tool_call>", "<|tool_call>", "<tool_call|>"},              // Gemma 4
    {"<|tools_prefix|>", "<|tools_prefix|>", "<|tools_suffix|>"},  // Apertus
    {"<|START_ACTION|>", "<|START_ACTION|>", "<|END_ACTION|>"},    // Command R7B
    {"<seed:tool_call>", "<seed:tool_call>", "</seed:tool_call>"},
    {"<minimax:tool_call>", "<minimax:tool_call>", "</minimax:tool_call>"},
    {"function call<|role_sep|>", "function call<|role_sep|>", "<|message_sep|>"},  // GigaChat
    {"<|python_tag|>", "<|python_tag|>", ""},                                       // Llama 3
};

struct MarkRow {
  std::string_view sign, mark;
};

constexpr MarkRow kSilent[] = {
    {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>"},
    {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"},
    {"<|tool_calls_section_begin|>", "<|tool_calls_section_begin|>"},
    {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"},
    {"<|START_RESPONSE|>", "<|START_RESPONSE|>"},
    {"<|START_RESPONSE|>", "<|END_RESPONSE|>"},
    {"[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"},
    {"<response></response>", "<response>"},  // Granite 3
    {"<response></response>", "</response>"},
    {"<|role_sep|>", "<|message_sep|>"},
};

constexpr std::string_view kInner[] = {
    "[ARGS]",      "[CALL_ID]",    "<｜tool▁sep｜>", "<|tool_call_argument_begin|>",
    "<|\"|>",      "｜DSML｜",     "<arg_key>",      "</arg_key>",
    "<arg_value>", "</arg_value>",
};

// Where an answer that is nothing but a call has no mark around it.
constexpr std::string_view kBareJson = R"({"name": function name, "parameters":)";
constexpr std::string_view kBareList = "[func_name1(params_name1=params_value1";

constexpr std::string_view kChannelMarks[] = {"<|start|>", "<|channel|>", "<|message|>",
                                              "<|end|>",   "<|call|>",    "<|constrain|>",
                                              "<|return|>"};

// A call and the thought before it, as this template writes them.
std::string written_example(const ChatTemplate& chat_template) {
  ChatTemplateInput input;
  const Json call = parse_json(R"({"id": "call00001", "type": "function",
      "function": {"name": "look", "arguments": {"at": "this"}}})")
                        .value();
  input.messages = JsonArray{
      JsonObject{{"role", "user"}, {"content", "x"}},
      JsonObject{{"role", "assistant"}, {"content", ""}, {"tool_calls", JsonArray{call}}}};
  input.tools = parse_json(R"([{"type": "function", "function": {"name": "look",
      "description": "d", "parameters": {"type": "object", "properties":
      {"at": {"type": "string", "description": "d"}}, "required": ["at"]}}}])")
                    .value();
  input.add_generation_prompt = false;
  auto text = chat_template.render(input);
  return text.ok() ? *std::move(text) : std::string();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t end = text.find_last_not_of(kSpace);
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
}

}  // namespace

std::string OutputSyntax::opened_by(std::string_view prompt) const {
  std::string_view opened;
  for (const Pair& pair : thinking) {
    const bool opens = trimmed(prompt).ends_with(trimmed(pair.begin));
    if (opens && pair.begin.size() > opened.size()) opened = pair.begin;
  }
  return std::string(opened);
}

std::vector<bool> OutputSyntax::shown_tokens(const Vocabulary& vocabulary) const {
  std::vector<std::string_view> marks;
  for (const auto* pairs : {&thinking, &calls})
    for (const Pair& pair : *pairs) marks.insert(marks.end(), {pair.begin, pair.end});
  for (const auto* list : {&silent, &inner}) marks.insert(marks.end(), list->begin(), list->end());
  std::vector<bool> shown(vocabulary.bytes.size(), false);
  for (size_t id = 0; id < shown.size(); ++id) {
    const std::string& token = vocabulary.bytes[id];
    if (id >= vocabulary.special.size() || !vocabulary.special[id] || token.empty()) continue;
    shown[id] = std::any_of(marks.begin(), marks.end(), [&](std::string_view mark) {
      return mark.find(token) != std::string_view::npos;
    });
  }
  return shown;
}

OutputSyntax read_output_syntax(std::string_view source, const ChatTemplate& chat_template) {
  const std::string example = written_example(chat_template);
  const auto has = [&](std::string_view sign) {
    return source.find(sign) != std::string_view::npos || example.find(sign) != std::string::npos;
  };
  OutputSyntax syntax;
  syntax.nine_character_ids = has("length != 9");
  if (has("<|channel|>") && has("<|message|>")) {
    syntax.channels = true;
    syntax.inner.assign(std::begin(kChannelMarks), std::end(kChannelMarks));
    return syntax;
  }
  const auto add_pairs = [&](const auto& rows, std::vector<OutputSyntax::Pair>& out) {
    for (const PairRow& row : rows) {
      const auto same = [&](const auto& pair) { return pair.begin == row.begin; };
      if (has(row.sign) && std::none_of(out.begin(), out.end(), same))
        out.push_back({std::string(row.begin), std::string(row.end)});
    }
  };
  add_pairs(kThinking, syntax.thinking);
  add_pairs(kCalls, syntax.calls);
  for (const MarkRow& row : kSilent)
    if (has(row.sign)) syntax.silent.emplace_back(row.mark);
  if (!syntax.calls.empty()) syntax.inner.assign(std::begin(kInner), std::end(kInner));
  syntax.bare_json = has(kBareJson);
  syntax.bare_list = has(kBareList);
  return syntax;
}

}  // namespace exo
