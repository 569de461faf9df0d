#include "orchestration/sessions_served.h"

#include <algorithm>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMaxSessions = 2048;  // running and waiting: more than the head admits
constexpr size_t kMaxClosed = 1024;
constexpr int64_t kForgottenUs = 120'000'000;  // finished, and its asker never closed it

}  // namespace

ServedSessions::ServedSessions(CoreContext& context, const Placement& placement, size_t index)
    : context_(context), placement_(placement), index_(index) {}

void ServedSessions::on_open(const SessionOpen& open, bool draining) {
  if (open.for_tail ? !tail() : !head()) return;
  if (closed_.contains(open.session)) return;
  const auto refuse = [&](Error error) {
    context_.send(open.asker, SessionRefused{placement_.id, open.session, std::move(error)});
  };
  const auto found = sessions_.find(open.session);
  const bool repeated =
      found != sessions_.end() && (open.for_tail ? found->second.at_tail : found->second.at_head);
  if (repeated) {
    const Session& session = found->second;
    if (open.for_tail && session.ready)
      context_.send(open.asker, SessionReady{placement_.id, open.session});
    if (!open.for_tail && session.accepted)
      context_.send(open.asker,
                    SessionAccepted{placement_.id, open.session, session.cached_tokens});
    return;
  }
  if (draining) return refuse(unavailable("this placement is being replaced"));
  if (found == sessions_.end() && sessions_.size() >= kMaxSessions)
    return refuse(resource_exhausted("too many requests are waiting; try again later"));
  Session& session = sessions_[open.session];
  session.asker = open.asker;
  (open.for_tail ? session.at_tail : session.at_head) = true;
  session.next_position = static_cast<int>(open.prompt_ids.size() + open.emitted_ids.size());
  context_.effects.push_back(SubmitToStage{placement_.id, open});
}

void ServedSessions::on_close(const NodeId& from, SessionId session) {
  const auto found = sessions_.find(session);
  if (found != sessions_.end() && found->second.asker != from) return;
  if (found != sessions_.end())
    close(session);
  else
    forget(session);  // an open that is still on its way comes too late
  context_.send(from, SessionClosed{placement_.id, session});
}

void ServedSessions::close(SessionId session) {
  context_.effects.push_back(SubmitToStage{placement_.id, SessionClose{placement_.id, session}});
  forget(session);
}

void ServedSessions::forget(SessionId session) {
  sessions_.erase(session);
  if (!closed_.insert(session).second) return;
  closed_order_.push_back(session);
  if (closed_order_.size() <= kMaxClosed) return;
  closed_.erase(closed_order_.front());
  closed_order_.pop_front();
}

void ServedSessions::on_resume(const NodeId& from, const SessionResume& resume) {
  const auto found = sessions_.find(resume.session);
  if (found == sessions_.end() || !found->second.at_head || found->second.asker != from) {
    context_.send(from, SessionRefused{placement_.id, resume.session,
                                       not_found("the session is not known here any more")});
    return;
  }
  Tokens tokens{placement_.id, {}};
  for (const TokenEvent& event : found->second.tokens)
    if (event.position + static_cast<int>(event.ids.size()) > resume.next_position ||
        event.finish != FinishReason::none)
      tokens.events.push_back(event);
  context_.send(from, std::move(tokens));
}

void ServedSessions::on_ready(const SessionReady& ready) {
  const auto found = sessions_.find(ready.session);
  if (found == sessions_.end()) return;
  found->second.ready = true;
  context_.send(found->second.asker, ready);
}

void ServedSessions::on_accepted(const SessionAccepted& accepted) {
  const auto found = sessions_.find(accepted.session);
  if (found == sessions_.end()) return;
  found->second.accepted = true;
  found->second.cached_tokens = accepted.cached_tokens;
  context_.send(found->second.asker, accepted);
}

void ServedSessions::on_refused(const SessionRefused& refused) {
  const auto found = sessions_.find(refused.session);
  if (found == sessions_.end()) return;
  context_.send(found->second.asker, refused);
  close(refused.session);
}

void ServedSessions::record(const std::vector<TokenEvent>& tokens) {
  for (const TokenEvent& event : tokens) {
    const auto found = sessions_.find(event.session);
    if (found == sessions_.end()) continue;
    Session& session = found->second;
    if (event.position != session.next_position) continue;
    session.next_position += static_cast<int>(event.ids.size());
    session.tokens.push_back(event);
    if (event.finish != FinishReason::none) session.finished_us = context_.now_us;
    if (session.asker == context_.self())
      context_.send(session.asker, Tokens{placement_.id, {event}});
  }
}

void ServedSessions::send_to_askers(const std::vector<TokenEvent>& tokens) {
  std::map<NodeId, Tokens> out;
  for (const TokenEvent& event : tokens) {
    const auto found = sessions_.find(event.session);
    if (found == sessions_.end() || found->second.asker == placement_.head()) continue;
    Tokens& message = out[found->second.asker];
    message.placement = placement_.id;
    message.events.push_back(event);
  }
  for (auto& [asker, message] : out) context_.send(asker, std::move(message));
}

void ServedSessions::close_of(const NodeId& asker) {
  std::vector<SessionId> theirs;
  for (const auto& [id, session] : sessions_)
    if (session.asker == asker) theirs.push_back(id);
  for (const SessionId id : theirs) close(id);
}

void ServedSessions::tick() {
  std::vector<SessionId> forgotten;
  for (const auto& [id, session] : sessions_)
    if (session.finished_us != 0 && context_.now_us - session.finished_us > kForgottenUs)
      forgotten.push_back(id);
  for (const SessionId id : forgotten) close(id);
}

std::set<NodeId> ServedSessions::askers() const {
  std::set<NodeId> nodes;
  for (const auto& [id, session] : sessions_) nodes.insert(session.asker);
  return nodes;
}

}  // namespace exo
