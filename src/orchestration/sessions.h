// Sessions: the requests of this node's own API, as their asker sees them. Keeps the journal of
// each (prompt, emitted ids, parameters), opens it on a placement, puts tokens in order, and moves
// it to another placement when a member of the present one is gone. Part of the pure core: one
// thread. Bounded by kMaxRequests; every request ends with a finish, a failure or a cancel.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "orchestration/placements_book.h"
#include "orchestration/placements_plan.h"

namespace exo {

class Sessions {
 public:
  Sessions(CoreContext& context, const Membership& membership, const PlacementBook& book,
           PlacementPlans& proposals);

  void start(StartSession command);
  void load(const LoadModel& command);
  void cancel(uint64_t request);
  void fail_all(const Error& error);

  void on_ready(const SessionReady& ready);
  void on_accepted(const SessionAccepted& accepted);
  void on_refused(const NodeId& from, const SessionRefused& refused);
  void on_closed(const NodeId& from, const SessionClosed& closed);
  void on_tokens(const NodeId& from, const Tokens& tokens);
  void on_gone(const NodeId& from, const PlacementGone& gone);
  void on_drop(const NodeId& from, const PlacementDrop& drop);
  void on_lost(const LostPeer& lost);
  void on_plan_failed(const PlanFailed& failed);

  void advance();  // after every event: what waits for a placement may find one now
  void tick();
  bool busy() const { return !requests_.empty() || !closing_.empty(); }
  size_t size() const { return requests_.size(); }

 private:
  enum class State { placing, opening_tail, opening_head, running };
  struct Request {
    uint64_t number = 0;
    bool load_only = false;
    ModelCard card;
    std::vector<TokenId> prompt_ids;
    SamplingParams sampling;
    std::vector<PlacedImage> images;
    std::vector<TokenId> emitted;  // the journal
    int cached_tokens = 0;         // of the prompt; what a replay reuses does not count

    State state = State::placing;
    Placement placement;
    SessionId session;
    std::map<int, TokenEvent> early;  // by position
    int64_t next_send_us = 0;
    int tries = 0;
    int64_t heard_us = 0;
    std::set<PlacementId> avoid;   // left or refused by this request
    bool moving = false;           // was running when a member went
    int moves = 0;                 // since the last token
    int64_t waiting_since_us = 0;  // placing, with nothing in sight; 0: something is
    int64_t waited_us = 0;         // of that, since it last ran
    std::string trouble;           // why it is not running, for people
    std::string last_refusal;      // the last plan's failure, for people
    bool announced = false;
    std::string progress;  // of the placement that is loaded for it, as last told
  };
  struct Closing {
    PlacementId placement;
    SessionId session;
    std::set<NodeId> nodes;
    int64_t next_send_us = 0;
    int tries = 0;
    int64_t since_us = 0;
  };

  int next_position(const Request& request) const {
    return static_cast<int>(request.prompt_ids.size() + request.emitted.size());
  }
  Request* by_session(PlacementId placement, SessionId session);
  void add(Request request);
  void place(Request& request);
  void open(Request& request, const Placement& placement);
  void send_open(Request& request);
  void send_resume(Request& request);
  void take(Request& request, const TokenEvent& event);
  bool emit(Request& request, const TokenEvent& event);  // true: that was the last one
  void move(Request& request, const std::string& why, bool avoid_placement);
  void close(Request& request);
  void fail(Request& request, Error error);
  int64_t patience_us(const Request& request) const;
  void notice(const Request& request, std::string text);
  void announce(Request& request, const PlacementLookup& lookup);
  std::string describe(const Placement& placement) const;
  void sweep();
  void tick_request(Request& request);
  void tick_closing();

  CoreContext& context_;
  const Membership& membership_;
  const PlacementBook& book_;
  PlacementPlans& plans_;
  std::map<uint64_t, Request> requests_;
  std::map<SessionId, uint64_t> by_session_;
  std::map<SessionId, Closing> closing_;
  std::set<uint64_t> ended_;  // to erase when nobody looks at them any more
};

}  // namespace exo
