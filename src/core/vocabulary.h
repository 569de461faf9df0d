// What two islands share of a tokenizer: id -> bytes, and which ids are special. Immutable,
// thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/ids.h"

namespace exo {

struct Vocabulary {
  std::vector<std::string> bytes;  // what the id contributes to the text; index = id
  std::vector<bool> special;       // control tokens: not shown to users
};

}  // namespace exo
