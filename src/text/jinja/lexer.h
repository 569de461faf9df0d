// Template text -> tokens, with jinja2's rules for trim_blocks and lstrip_blocks (both on), the -
// and + signs of tags, comments and raw blocks. Pure; a broken template throws a Failure with its
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace exo::jinja {

enum class TokenType {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  symbol,
  end
};

struct Token {
  TokenType type = TokenType::end;
  std::string text;  // of names, symbols, strings (unescaped) and data
  Value number;      // of integer and real
  int line = 1;
};

std::vector<Token> tokenize(std::string_view source);

}  // namespace exo::jinja
