// What the names of "tokenizer.ggml.pre" in GGUF files mean. Constant data.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo {

struct GgufPreKind {
  std::string_view names;                  // each between spaces
  std::vector<std::string_view> patterns;  // the text is split by one after the other
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
  bool nfc = false;      // what the model's own tokenizer.json normalizes by
};

const std::vector<GgufPreKind>& gguf_pre_kinds();
Result<const GgufPreKind*> find_gguf_pre_kind(const std::string& name);

}  // namespace exo
