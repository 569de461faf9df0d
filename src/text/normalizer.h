// Normalizer: the first step of encoding, text -> text, as the "normalizer" of tokenizer.json says.
// Immutable, thread-safe; apply() expects valid UTF-8 and keeps it so. Parsing fails with
// `unsupported` naming an unknown type.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "core/json.h"

namespace exo {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
};

// null (no normalizer) gives nullptr.
Result<std::unique_ptr<const Normalizer>> parse_normalizer(const Json& value);

}  // namespace exo
