#include "text/split.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {
namespace {

void append(std::vector<TextRange>& out, TextRange range) {
  if (range.begin < range.end) out.push_back(range);
}

// Whether spans[i] belongs to the piece of spans[i - 1].
bool joins_previous(const std::vector<SplitSpan>& spans, size_t i, SplitBehavior behavior) {
  const bool delimiter = spans[i].delimiter;
  const bool after_delimiter = spans[i - 1].delimiter;
  switch (behavior) {
    case SplitBehavior::contiguous:
      return delimiter == after_delimiter;
    case SplitBehavior::merged_with_previous:
      return delimiter && !after_delimiter;
    case SplitBehavior::merged_with_next:
      return after_delimiter && !delimiter;
    default:
      return false;
  }
}

}  // namespace

Result<SplitBehavior> parse_split_behavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  return unsupported(fmt::format("split behavior '{}' is not known", name));
}

void append_pieces(const std::vector<SplitSpan>& spans, SplitBehavior behavior,
                   std::vector<TextRange>& out) {
  if (behavior == SplitBehavior::removed) {
    for (const SplitSpan& span : spans)
      if (!span.delimiter) append(out, span.range);
    return;
  }
  TextRange piece;
  for (size_t i = 0; i < spans.size(); ++i) {
    if (i > 0 && joins_previous(spans, i, behavior)) {
      piece.end = spans[i].range.end;
    } else {
      append(out, piece);
      piece = spans[i].range;
    }
  }
  append(out, piece);
}

}  // namespace exo
