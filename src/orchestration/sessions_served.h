// ServedSessions: what the head and the tail of a placement know of its sessions: who asked, what
// was answered, and, on the head, every token emitted, so that an asker that missed some can have
// them again. Part of the pure core: one thread. Bounded by the runner, which refuses sessions, and
// by kMaxSessions.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "orchestration/core_context.h"

namespace exo {

class ServedSessions {
 public:
  ServedSessions(CoreContext& context, const Placement& placement, size_t index);

  void on_open(const SessionOpen& open, bool draining);
  void on_close(const NodeId& from, SessionId session);
  void on_resume(const NodeId& from, const SessionResume& resume);

  void on_ready(const SessionReady& ready);
  void on_accepted(const SessionAccepted& accepted);
  void on_refused(const SessionRefused& refused);
  void record(const std::vector<TokenEvent>& tokens);          // head: committed, in order
  void send_to_askers(const std::vector<TokenEvent>& tokens);  // tail: the short way

  void close_of(const NodeId& asker);  // it died or left
  void tick();
  size_t size() const { return sessions_.size(); }
  std::set<NodeId> askers() const;

 private:
  struct Session {
    NodeId asker;
    bool at_head = false, at_tail = false;  // opened in this role
    bool ready = false;
    bool accepted = false;
    int cached_tokens = 0;
    int next_position = 0;
    std::vector<TokenEvent> tokens;
    int64_t finished_us = 0;  // 0: not yet
  };
  bool head() const { return index_ == 0; }
  bool tail() const { return index_ + 1 == placement_.stages.size(); }
  void close(SessionId session);
  void forget(SessionId session);

  CoreContext& context_;
  const Placement& placement_;
  const size_t index_;
  std::map<SessionId, Session> sessions_;
  std::set<SessionId> closed_;  // late repeats of their SessionOpen change nothing
  std::deque<SessionId> closed_order_;
};

}  // namespace exo
