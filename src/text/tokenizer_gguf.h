// What reading and writing a GGUF file's tokenizer share: the split patterns behind the names of
// "tokenizer.ggml.pre", which the files leave to their readers. Constant.
#pragma once

#include <string_view>
#include <vector>

namespace exo {

struct GgufPreKind {
  std::string_view names;  // of tokenizer.ggml.pre, each between spaces
  std::vector<std::string_view> patterns;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
  bool nfc = false;      // what the model's own tokenizer.json normalizes by
};
const std::vector<GgufPreKind>& gguf_pre_kinds();

// "tokenizer.ggml.token_type".
enum class GgufTokenType { normal = 1, unknown, control, user_defined, unused, byte };

}  // namespace exo
