// The tokenizer of a Hugging Face folder as GGUF metadata: keys "tokenizer.*" as
// tokenizer_from_gguf and llama.cpp read them. Refused where the keys, read back, would split text
// in another way.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "core/json.h"

namespace exo {

// `vocab_size` ids; those that the tokenizer does not name are padded. An object without members
// when the folder has no tokenizer.json.
Result<JsonObject> tokenizer_to_gguf(const std::filesystem::path& folder, int vocab_size);

}  // namespace exo
