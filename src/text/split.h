// The five ways in which a delimiter cuts a text ("SplitDelimiterBehavior"). Pure, thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/regex.h"

namespace exo {

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
Result<SplitBehavior> parse_split_behavior(std::string_view name);

// A text cut into spans, each a delimiter or not; spans cover the text in order.
struct SplitSpan {
  TextRange range;
  bool delimiter = false;
};
// Appends the pieces that remain, without the empty ones.
void append_pieces(const std::vector<SplitSpan>& spans, SplitBehavior behavior,
                   std::vector<TextRange>& out);

}  // namespace exo
