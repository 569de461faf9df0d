// Pictures among the ids of a sequence: whether those of a request are sound, which of them a batch
// needs, and how far two sequences see the same. Pure functions.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "core/messages.h"
#include "core/model_card.h"

namespace exo {

// What a model asks of the pictures in its prompts; tokens = 0: it takes none.
struct ImageRules {
  int size = 0;        // pixels of an edge
  int tokens = 0;      // ids of one picture,
  TokenId token = -1;  // all of them this one
};
ImageRules image_rules(const ModelCard& card);

// What is wrong with the pictures of a session; it may come from another machine.
std::optional<Error> image_fault(const SessionOpen& open, const ImageRules& rules);

// Those that stand at a position in [begin, end).
std::vector<PlacedImage> images_within(const std::vector<PlacedImage>& images, int begin, int end);

// The first position below `most` where one sequence has a picture that the other has not; `most`
// where there is none.
int alike_until(const std::vector<PlacedImage>& a, const std::vector<PlacedImage>& b, int most);

}  // namespace exo
