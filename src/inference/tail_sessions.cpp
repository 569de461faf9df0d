#include "inference/tail_sessions.h"

#include <fmt/core.h>

#include <algorithm>

#include "inference/sampler.h"

namespace exo {
namespace {

constexpr size_t kRememberedClosed = 4096;

}  // namespace

Result<void> TailSessions::open(const SessionOpen& open) {
  if (sessions_.contains(open.session)) return {};
  if (closed_.contains(open.session))
    return Error{ErrorCode::cancelled, "this session is closed already"};
  if (sessions_.size() >= max_sessions_)
    return resource_exhausted(
        fmt::format("{} sessions are open already; try again in a moment", sessions_.size()));
  if (open.prompt_ids.size() + open.emitted_ids.size() >= static_cast<size_t>(context_length_))
    return invalid_argument(
        fmt::format("the prompt has {} tokens and the context holds {}; shorten it, or load the "
                    "model with a longer context",
                    open.prompt_ids.size() + open.emitted_ids.size(), context_length_));
  Session session;
  session.sampling = open.sampling;
  session.ids = open.prompt_ids;
  session.ids.insert(session.ids.end(), open.emitted_ids.begin(), open.emitted_ids.end());
  session.prompt_size = static_cast<int>(open.prompt_ids.size());
  sessions_.emplace(open.session, std::move(session));
  return {};
}

void TailSessions::close(SessionId session) {
  sessions_.erase(session);
  if (!closed_.insert(session).second) return;
  closed_order_.push_back(session);
  if (closed_order_.size() <= kRememberedClosed) return;
  closed_.erase(closed_order_.front());
  closed_order_.pop_front();
}

std::vector<TokenEvent> TailSessions::sample(const Batch& batch, std::span<const float> logits,
                                             int width) {
  std::vector<TokenEvent> events;
  size_t row = 0;
  for (const BatchEntry& entry : batch.entries) {
    const size_t rows = static_cast<size_t>(entry.logit_rows);
    const auto found = sessions_.find(entry.session);
    const int position = entry.first_position + entry.count;
    CHECK((row + rows) * width <= logits.size(), "a row of logits for each row that wants one");
    if (rows > 0 && found != sessions_.end() && position > 0 &&
        static_cast<size_t>(position) <= found->second.ids.size())
      events.push_back(choose(entry.session, found->second, position,
                              logits.subspan((row + rows - 1) * width, width)));
    row += rows;
  }
  return events;
}

TokenEvent TailSessions::choose(SessionId id, Session& session, int position,
                                std::span<const float> logits) {
  TokenEvent event;
  event.session = id;
  event.position = position;
  const SamplingParams& params = session.sampling;
  const std::span<const TokenId> before(session.ids.data(), static_cast<size_t>(position));
  if (static_cast<size_t>(position) == session.ids.size()) {
    const auto token = sample_token(logits, params, {before, session.prompt_size});
    if (!token.ok()) {
      event.ids = {0};
      event.finish = FinishReason::error;
      return event;
    }
    session.ids.push_back(*token);
  }
  event.ids = {session.ids[static_cast<size_t>(position)]};
  if (params.top_logprobs >= 0)
    event.logprobs = {token_logprobs(logits, event.ids.front(), params.top_logprobs)};
  event.finish = finish_of(session, position);
  return event;
}

FinishReason TailSessions::finish_of(const Session& session, int position) const {
  const SamplingParams& params = session.sampling;
  const TokenId id = session.ids[static_cast<size_t>(position)];
  if (!params.ignore_eos &&
      std::find(params.stop_ids.begin(), params.stop_ids.end(), id) != params.stop_ids.end())
    return FinishReason::stop;
  const int produced = position - session.prompt_size + 1;
  if ((params.max_tokens > 0 && produced >= params.max_tokens) || position + 1 >= context_length_)
    return FinishReason::length;
  return FinishReason::none;
}

}  // namespace exo
