#include "topology/kv_room.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace exo {
namespace {

constexpr int kUnknownContext = 4096;  // a card that does not say
constexpr int kUsualContext = 8192;
constexpr int kLeastContext = 512;
constexpr int kMostSequences = 16;
constexpr int kMaxContext = 1 << 27;

KvRoom room(int context_length, int sequences, bool roomy, bool last_resort = false) {
  const int64_t tokens =
      std::min<int64_t>(int64_t{context_length} * sequences, std::numeric_limits<int>::max());
  return {context_length, static_cast<int>(tokens), roomy, last_resort};
}

}  // namespace

Result<std::vector<KvRoom>> kv_room_choices(const ModelCard& card,
                                            const PartitionRequest& request) {
  if (request.context_length < 0 || request.kv_capacity_tokens < 0)
    return invalid_argument("context length and KV capacity cannot be negative");
  const int of_model =
      card.context_length > 0 ? std::min(card.context_length, kMaxContext) : kUnknownContext;
  const int context =
      request.context_length > 0 ? std::min(request.context_length, of_model) : of_model;
  if (request.kv_capacity_tokens > 0)
    return std::vector<KvRoom>{
        {std::min(context, request.kv_capacity_tokens), request.kv_capacity_tokens, false, false}};

  std::vector<KvRoom> choices;
  for (int sequences = kMostSequences; sequences >= 1; sequences /= 2)
    choices.push_back(room(context, sequences, true));
  if (request.context_length > 0) {
    choices.push_back(room(context, 1, false));
    return choices;
  }
  for (int shorter = context / 2; shorter >= kUsualContext; shorter /= 2)
    choices.push_back(room(shorter, 1, true));
  choices.push_back(room(std::min(context, kUsualContext), 1, false));
  for (int shorter = kUsualContext / 2; shorter >= kLeastContext; shorter /= 2)
    if (shorter < context) choices.push_back(room(shorter, 1, false, true));
  return choices;
}

}  // namespace exo
