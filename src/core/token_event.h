// What leaves a running session, one or more tokens at a time. `position` is absolute in the
// sequence: the first generated token of an n-token prompt has position n. Plain values.
#pragma once

#include <string>
#include <vector>

#include "core/ids.h"

namespace exo {

enum class FinishReason { none, stop, length, cancelled, error };

struct Logprob {
  TokenId id = 0;
  float logprob = 0;
};

struct TokenLogprobs {
  float logprob = 0;         // of the chosen token
  std::vector<Logprob> top;  // best first
};

struct TokenEvent {
  SessionId session;
  int position = 0;                     // of ids[0]
  std::vector<TokenId> ids;             // 1..k
  std::vector<TokenLogprobs> logprobs;  // empty, or one per id
  FinishReason finish =
      FinishReason::none;  // set on the last event: stop = an end-of-sequence id (it is in ids)
};

}  // namespace exo
