#include "orchestration/sessions.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMaxRequests = 4096;
constexpr size_t kMaxClosing = 8192;
constexpr size_t kMaxEarly = 256;
constexpr int kMaxMoves = 6;  // without a new token in between
constexpr int64_t kResendUs = 300'000;
constexpr int64_t kMaxResendUs = 2'000'000;
constexpr int64_t kGapUs = 200'000;
constexpr int64_t kSilenceUs = 1'000'000;
constexpr int64_t kMaxSilenceUs = 8'000'000;
// A node that we think dead may think us alive, and be back: it is told for so long.
constexpr int64_t kClosingUs = 60'000'000;
// Of all pictures that journals hold: when a node dies they may all go over one link at once, whose
// queue is not much longer.
constexpr size_t kMaxPixelBytes = size_t{128} << 20;
constexpr int64_t kSlowestBytesPerUs = 1;  // no picture is sent twice while it may be on its way
constexpr int64_t kNoFitUs = 600'000;      // after a death, memory figures may need a moment

int64_t backed_off(int64_t base_us, int tries, int64_t most_us) {
  return std::min(most_us, base_us << std::min(tries, 8));
}

}  // namespace

Sessions::Sessions(CoreContext& context, const Membership& membership, const PlacementBook& book,
                   PlacementPlans& proposals)
    : context_(context), membership_(membership), book_(book), plans_(proposals) {}

void Sessions::start(StartSession command) {
  Request request;
  request.number = command.request;
  request.card = std::move(command.card);
  request.prompt_ids = std::move(command.prompt_ids);
  request.sampling = std::move(command.sampling);
  request.images = std::move(command.images);
  if (request.prompt_ids.empty() || request.sampling.max_tokens <= 0) {
    context_.effects.push_back(
        SessionFailed{request.number, invalid_argument("a prompt and max_tokens are needed")});
    return;
  }
  add(std::move(request));
}

void Sessions::load(const LoadModel& command) {
  Request request;
  request.number = command.request;
  request.load_only = true;
  request.card = command.card;
  add(std::move(request));
}

void Sessions::add(Request request) {
  const uint64_t number = request.number;
  size_t pixels = image_bytes(request.images);
  if (pixels > 0)
    for (const auto& [other, known] : requests_) pixels += image_bytes(known.images);
  if (requests_.size() >= kMaxRequests || requests_.contains(number) || pixels > kMaxPixelBytes) {
    context_.effects.push_back(SessionFailed{
        number, resource_exhausted("too many requests are running here; try again later")});
    return;
  }
  request.waiting_since_us = context_.now_us;
  requests_.emplace(number, std::move(request));
}

void Sessions::cancel(uint64_t number) {
  const auto found = requests_.find(number);
  if (found == requests_.end() || ended_.contains(number)) return;
  close(found->second);
  ended_.insert(number);
}

void Sessions::fail_all(const Error& error) {
  for (auto& [number, request] : requests_)
    if (!ended_.contains(number)) fail(request, error);
}

void Sessions::fail(Request& request, Error error) {
  close(request);
  context_.effects.push_back(SessionFailed{request.number, std::move(error)});
  ended_.insert(request.number);
}

void Sessions::notice(const Request& request, std::string text) {
  context_.effects.push_back(SessionNotice{request.number, std::move(text)});
}

void Sessions::sweep() {
  for (const uint64_t number : ended_) requests_.erase(number);
  ended_.clear();
}

std::string Sessions::describe(const Placement& placement) const {
  std::string text;
  for (const Stage& stage : placement.stages)
    text += fmt::format("{}{} layers {}-{}", text.empty() ? "" : ", ", membership_.name(stage.node),
                        stage.shard.layer_begin, stage.shard.layer_end - 1);
  return text;
}

void Sessions::announce(Request& request, const PlacementLookup& lookup) {
  if (lookup.placement.stages.empty()) return;
  if (request.announced) {
    std::string progress = book_.progress(lookup.placement);
    if (progress.empty() || progress == request.progress) return;
    request.progress = std::move(progress);
    return notice(request, request.progress);
  }
  request.announced = true;
  const size_t count = lookup.placement.stages.size();
  notice(request, fmt::format("loading {} on {} node{} ({})", request.card.id, count,
                              count == 1 ? "" : "s", describe(lookup.placement)));
}

// --- placing
// --------------------------------------------------------------------------------------

void Sessions::place(Request& request) {
  PlacementLookup lookup = book_.find(request.card.fingerprint, request.avoid);
  const PlacementLookup own = plans_.find(request.card.fingerprint);
  if (own.kind > lookup.kind && !request.avoid.contains(own.placement.id)) lookup = own;
  if (lookup.kind == PlacementLookup::Kind::ready) return open(request, lookup.placement);
  if (lookup.kind == PlacementLookup::Kind::none) {
    if (request.waiting_since_us == 0) request.waiting_since_us = context_.now_us;
    plans_.ensure(request.card);
    lookup = plans_.find(request.card.fingerprint);
    if (lookup.kind == PlacementLookup::Kind::none) return;
  }
  if (request.waiting_since_us != 0) {
    request.waited_us += context_.now_us - request.waiting_since_us;
    request.waiting_since_us = 0;
  }
  announce(request, lookup);
}

void Sessions::open(Request& request, const Placement& placement) {
  if (request.load_only) {
    context_.effects.push_back(ModelReady{request.number, placement.id});
    ended_.insert(request.number);
    return;
  }
  request.placement = placement;
  request.session.value = context_.random_u64() | 1;
  by_session_[request.session] = request.number;
  request.state = State::opening_tail;
  request.early.clear();
  request.tries = 0;
  if (request.waiting_since_us != 0)
    request.waited_us += context_.now_us - request.waiting_since_us;
  request.waiting_since_us = 0;
  send_open(request);
}

void Sessions::send_open(Request& request) {
  SessionOpen open;
  open.placement = request.placement.id;
  open.epoch = request.placement.epoch;
  open.session = request.session;
  open.asker = context_.self();
  open.for_tail = request.state == State::opening_tail;
  open.sampling = request.sampling;
  open.prompt_ids = request.prompt_ids;
  open.emitted_ids = request.emitted;
  if (!open.for_tail) open.images = request.images;
  request.next_send_us = context_.now_us + backed_off(kResendUs, request.tries++, kMaxResendUs) +
                         static_cast<int64_t>(image_bytes(open.images)) / kSlowestBytesPerUs;
  context_.send(open.for_tail ? request.placement.tail() : request.placement.head(),
                std::move(open));
}

Sessions::Request* Sessions::by_session(PlacementId placement, SessionId session) {
  const auto found = by_session_.find(session);
  if (found == by_session_.end()) return nullptr;
  Request& request = requests_.at(found->second);
  if (request.placement.id != placement || request.state == State::placing) return nullptr;
  return &request;
}

void Sessions::on_ready(const SessionReady& ready) {
  Request* request = by_session(ready.placement, ready.session);
  if (request == nullptr || request->state != State::opening_tail) return;
  request->state = State::opening_head;
  request->tries = 0;
  send_open(*request);
}

void Sessions::on_accepted(const SessionAccepted& accepted) {
  Request* request = by_session(accepted.placement, accepted.session);
  if (request == nullptr || request->state != State::opening_head) return;
  request->state = State::running;
  if (!request->moving)
    request->cached_tokens = std::min(accepted.cached_tokens, next_position(*request));
  request->tries = 0;
  request->waited_us = 0;
  request->heard_us = context_.now_us;
  if (request->moving)
    notice(*request, fmt::format("continuing on {}", describe(request->placement)));
  request->moving = false;
}

void Sessions::on_refused(const NodeId& from, const SessionRefused& refused) {
  Request* request = by_session(refused.placement, refused.session);
  if (request == nullptr) return;
  if (from != request->placement.head() && from != request->placement.tail()) return;
  const ErrorCode code = refused.error.code;
  if (code == ErrorCode::not_found) return move(*request, refused.error.message, false);
  if (code == ErrorCode::unavailable) return move(*request, refused.error.message, true);
  if (code == ErrorCode::resource_exhausted && !request->emitted.empty())
    return move(*request, refused.error.message, false);
  fail(*request, refused.error);
}

// --- running
// --------------------------------------------------------------------------------------

void Sessions::on_tokens(const NodeId& from, const Tokens& tokens) {
  for (const TokenEvent& event : tokens.events) {
    Request* request = by_session(tokens.placement, event.session);
    if (request == nullptr || ended_.contains(request->number) || event.position < 0) continue;
    if (from != request->placement.tail() && from != request->placement.head()) continue;
    take(*request, event);
  }
}

void Sessions::take(Request& request, const TokenEvent& event) {
  request.heard_us = context_.now_us;
  request.tries = 0;
  if (event.position > next_position(request)) {
    if (request.early.size() < kMaxEarly) request.early.emplace(event.position, event);
    request.next_send_us = std::min(request.next_send_us, context_.now_us + kGapUs);
    return;
  }
  if (emit(request, event)) return;
  while (!request.early.empty() && request.early.begin()->first <= next_position(request)) {
    const TokenEvent next = std::move(request.early.begin()->second);
    request.early.erase(request.early.begin());
    if (emit(request, next)) return;
  }
  request.next_send_us = context_.now_us + (request.early.empty() ? kSilenceUs : kGapUs);
}

bool Sessions::emit(Request& request, const TokenEvent& event) {
  const int known = next_position(request) - event.position;
  const int count = static_cast<int>(event.ids.size());
  if (known < 0 || known > count) return false;
  const bool finished = event.finish != FinishReason::none;
  if (known == count && !finished) return false;
  TokenEvent fresh = event;
  fresh.position = next_position(request);
  fresh.ids.erase(fresh.ids.begin(), fresh.ids.begin() + known);
  if (fresh.logprobs.size() == static_cast<size_t>(count))
    fresh.logprobs.erase(fresh.logprobs.begin(), fresh.logprobs.begin() + known);
  request.emitted.insert(request.emitted.end(), fresh.ids.begin(), fresh.ids.end());
  request.moves = 0;
  context_.effects.push_back(EmitTokens{request.number, std::move(fresh), request.cached_tokens});
  if (!finished) return false;
  close(request);
  ended_.insert(request.number);
  return true;
}

void Sessions::send_resume(Request& request) {
  request.next_send_us = context_.now_us + backed_off(request.early.empty() ? kSilenceUs : kGapUs,
                                                      ++request.tries, kMaxSilenceUs);
  context_.send(request.placement.head(),
                SessionResume{request.placement.id, request.session, next_position(request)});
}

// --- moving and ending
// ----------------------------------------------------------------------------

void Sessions::close(Request& request) {
  if (request.state == State::placing) return;
  by_session_.erase(request.session);
  if (closing_.size() < kMaxClosing) {
    Closing closing{request.placement.id, request.session, {}, context_.now_us, 0, 0};
    closing.since_us = context_.now_us;
    for (const NodeId& node : {request.placement.head(), request.placement.tail()})
      closing.nodes.insert(node);
    for (const NodeId& node : closing.nodes)
      if (membership_.reachable(node))
        context_.send(node, SessionClose{closing.placement, closing.session});
    closing.next_send_us = context_.now_us + kResendUs;
    if (!closing.nodes.empty()) closing_.emplace(request.session, std::move(closing));
  }
  request.state = State::placing;
}

void Sessions::move(Request& request, const std::string& why, bool avoid_placement) {
  if (request.state == State::placing) return;
  if (ended_.contains(request.number)) return;
  const bool ran = request.state == State::running || !request.emitted.empty();
  close(request);
  if (avoid_placement) {
    if (request.avoid.size() >= 64) request.avoid.erase(request.avoid.begin());
    request.avoid.insert(request.placement.id);
  }
  request.trouble = why;
  request.announced = false;
  request.waiting_since_us = context_.now_us;
  request.moving |= ran;
  if (++request.moves > kMaxMoves)
    return fail(request, unavailable(fmt::format("the answer was moved {} times and did not get "
                                                 "further: {}",
                                                 kMaxMoves, why)));
  if (ran) notice(request, fmt::format("{}; moving the answer", why));
}

void Sessions::on_gone(const NodeId& from, const PlacementGone& gone) {
  for (auto& [number, request] : requests_) {
    if (request.state == State::placing || request.placement.id != gone.placement) continue;
    const auto& stages = request.placement.stages;
    if (std::any_of(stages.begin(), stages.end(),
                    [&](const Stage& stage) { return stage.node == from; }))
      move(request, fmt::format("{} does not hold the model any more", membership_.name(from)),
           true);
  }
}

void Sessions::on_drop(const NodeId& from, const PlacementDrop& drop) {
  for (auto& [number, request] : requests_) {
    if (request.state == State::placing || request.placement.id != drop.placement) continue;
    const auto& stages = request.placement.stages;
    if (std::any_of(stages.begin(), stages.end(),
                    [&](const Stage& stage) { return stage.node == from; }))
      move(request, drop.reason, true);
  }
}

void Sessions::on_lost(const LostPeer& lost) {
  for (auto& [number, request] : requests_) {
    if (request.state == State::placing) continue;
    const auto& stages = request.placement.stages;
    if (std::any_of(stages.begin(), stages.end(),
                    [&](const Stage& stage) { return stage.node == lost.node; }))
      move(request, fmt::format("{} {}", lost.name, lost.how), true);
  }
  if (lost.final)
    for (auto& [session, closing] : closing_) closing.nodes.erase(lost.node);
}

// With nothing in sight. A silent death took dead_us to notice, which counts.
int64_t Sessions::patience_us(const Request& request) const {
  const CoreOptions& options = context_.options;
  if (!request.moving) return options.session_deadline_us;
  return std::max(options.session_deadline_us - options.dead_us - kNoFitUs, kNoFitUs);
}

void Sessions::on_plan_failed(const PlanFailed& failed) {
  for (auto& [number, request] : requests_) {
    if (request.state != State::placing || ended_.contains(number)) continue;
    if (request.card.fingerprint != failed.fingerprint) continue;
    const int64_t waited_us =
        request.waited_us +
        (request.waiting_since_us == 0 ? 0 : context_.now_us - request.waiting_since_us);
    const bool retry = failed.error.code == ErrorCode::unavailable
                           ? waited_us < patience_us(request)
                           : request.moving && waited_us < kNoFitUs;
    request.last_refusal = failed.error.message;
    if (retry) continue;
    fail(request, request.moving ? failed.error.in(request.trouble) : failed.error);
  }
}

void Sessions::on_closed(const NodeId& from, const SessionClosed& closed) {
  const auto found = closing_.find(closed.session);
  if (found == closing_.end()) return;
  found->second.nodes.erase(from);
  if (found->second.nodes.empty()) closing_.erase(found);
}

void Sessions::advance() {
  for (auto& [number, request] : requests_)
    if (request.state == State::placing && !ended_.contains(number)) place(request);
  sweep();
}

void Sessions::tick_request(Request& request) {
  if (request.state == State::placing) {
    const int64_t waiting_us =
        request.waiting_since_us == 0 ? 0 : context_.now_us - request.waiting_since_us;
    if (request.waited_us + waiting_us < patience_us(request)) return;
    std::string why = fmt::format("no placement of {} came about in time", request.card.id);
    if (!request.last_refusal.empty()) why = request.last_refusal;
    if (!request.trouble.empty()) why = request.trouble + "; " + why;
    return fail(request, unavailable(std::move(why)));
  }
  if (context_.now_us < request.next_send_us) return;
  if (request.state == State::running)
    send_resume(request);
  else
    send_open(request);
}

void Sessions::tick_closing() {
  for (auto& [session, closing] : closing_) {
    if (context_.now_us < closing.next_send_us) continue;
    closing.next_send_us = context_.now_us + backed_off(kResendUs, ++closing.tries, kMaxResendUs);
    if (context_.now_us - closing.since_us >= kClosingUs)
      std::erase_if(closing.nodes,
                    [&](const NodeId& node) { return !membership_.reachable(node); });
    for (const NodeId& node : closing.nodes)
      if (membership_.reachable(node))
        context_.send(node, SessionClose{closing.placement, closing.session});
  }
  std::erase_if(closing_, [](const auto& entry) { return entry.second.nodes.empty(); });
}

void Sessions::tick() {
  for (auto& [number, request] : requests_)
    if (!ended_.contains(number)) tick_request(request);
  tick_closing();
}

}  // namespace exo
