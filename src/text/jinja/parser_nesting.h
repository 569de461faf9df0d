// One level of the parser's own recursion: fails before the stack would.
#pragma once

#include "text/jinja/parser.h"

namespace exo::jinja {

struct Parser::Nesting {
  explicit Nesting(Parser& parser) : parser(parser) {
    if (++parser.nesting_ > 2 * kMaxSyntaxDepth) fail_limit("the chat template nests too deeply");
  }
  ~Nesting() { --parser.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  Parser& parser;
};

}  // namespace exo::jinja
