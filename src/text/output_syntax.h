// OutputSyntax: how a model writes thinking and tool calls, as data. It is read off what the
// model's chat template says and writes, never off the model's name; a new form is a row in the
// tables of output_syntax.cpp. Immutable once made.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/vocabulary.h"
#include "text/chat_template.h"

namespace exo {

struct OutputSyntax {
  struct Pair {
    std::string begin;
    std::string end;  // "" where the call ends by itself, with its last bracket
  };
  std::vector<Pair> thinking;
  std::vector<Pair> calls;          // what stands between may be any form of read_tool_calls()
  std::vector<std::string> silent;  // marks of structure that are nobody's text
  std::vector<std::string> inner;   // marks inside of calls
  bool bare_json = false;           // an answer that is only {...} may be a call
  bool bare_list = false;           // or [f(x=1)]
  bool channels = false;            // gpt-oss: <|channel|>NAME<|message|>TEXT<|end|>
  bool nine_character_ids = false;  // the template refuses other ids of calls

  // The mark that the end of a prompt opens ("<think>"), for the answer goes on behind it; "" when
  // there is none.
  std::string opened_by(std::string_view prompt) const;
  // Which special tokens have to be seen although text for people leaves them out.
  std::vector<bool> shown_tokens(const Vocabulary& vocabulary) const;
};

// `source` is the template's text; `chat_template` the same, parsed: a conversation with a call is
// rendered to see what only comes together there.
OutputSyntax read_output_syntax(std::string_view source, const ChatTemplate& chat_template);

}  // namespace exo
