// TailSessions: what the last stage knows of each session: its SamplingParams and its ids, from
// which all sampling state is rebuilt. Turns rows of logits into TokenEvents. A position that was
// chosen before keeps its token, whatever run computes it again.
//
// One thread. Bounded: opening more than the limit is refused.
#pragma once

#include <deque>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/messages.h"

namespace exo {

class TailSessions {
 public:
  TailSessions(int context_length, size_t max_sessions)
      : context_length_(context_length), max_sessions_(max_sessions) {}

  Result<void> open(const SessionOpen& open);  // a repeat changes nothing
  void close(SessionId session);
  // `logits`: [logit rows of all entries in order, width]. Sessions that are closed get no event.
  std::vector<TokenEvent> sample(const Batch& batch, std::span<const float> logits, int width);
  size_t size() const { return sessions_.size(); }

 private:
  struct Session {
    SamplingParams sampling;
    std::vector<TokenId> ids;
    int prompt_size = 0;
  };
  TokenEvent choose(SessionId id, Session& session, int position, std::span<const float> logits);
  FinishReason finish_of(const Session& session, int position) const;

  int context_length_;
  size_t max_sessions_;
  std::unordered_map<SessionId, Session> sessions_;
  std::deque<SessionId> closed_order_;  // late repeats of these are not opened again
  std::unordered_set<SessionId> closed_;
};

}  // namespace exo
