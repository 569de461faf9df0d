// PostProcessor: what the "post_processor" of tokenizer.json adds around the ids of one text.
// Immutable, thread-safe. Parsing fails with `unsupported` naming an unknown type.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "core/json.h"

namespace exo {

class PostProcessor {
 public:
  using Template = std::vector<std::optional<TokenId>>;  // nullopt: the text's ids

  static Result<PostProcessor> parse(const Json& value);  // null adds nothing
  void append(Template added) { templates_.push_back(std::move(added)); }
  std::vector<TokenId> apply(std::vector<TokenId> ids) const;

 private:
  Result<void> parse_into(const Json& value, int depth);
  Result<void> parse_template(const JsonObject& object);
  Result<void> parse_pair_style(const JsonObject& object);
  std::vector<Template> templates_;  // applied one after the other
};

}  // namespace exo
