// Scheduler: decides what the next Batch computes. Head only, pure: no tensors, no clock, no
// network. Continuous batching: one Batch mixes a decode row of each ready sequence with chunks of
// prompts, so that a long prompt never stalls the others; up to as many Batches as there are stages
// are in flight.
//
// Room is promised before a sequence starts (prompt and max_tokens), so nothing running is ever
// thrown out; the rest waits in order, and a full queue refuses. Finished sequences stay as cached
// prefixes until their room is needed; a new prompt starts from the longest one it continues.
//
// What stages hold is a function of the batches they got. Positions whose result came back are
// `committed`: every stage has them. start_new_run() falls back to exactly that.
//
// One thread. Answers to sessions are collected and taken with take_answers().
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <unordered_set>
#include <vector>

#include "core/stage_io.h"
#include "inference/block_manager.h"
#include "inference/sequence_images.h"

namespace exo {

struct SchedulerOptions {
  PlacementId placement;
  uint64_t epoch = 0;
  int stages = 1;
  int block_size = 16;
  int block_count = 0;
  int context_length = 0;  // tokens one sequence may have
  int vocab_size = 0;      // ids beyond are refused; 0 = any
  ImageRules images;
  int max_batch_rows = 512;
  int max_sequences = 64;
  int max_queue = 1024;
};

struct SchedulerStats {
  int running = 0;
  int waiting = 0;
  int cached = 0;  // finished sequences kept as prefixes
  int in_flight = 0;
  int free_blocks = 0;
  int block_count = 0;
  uint64_t prompt_tokens = 0;  // since the start
  uint64_t cached_tokens = 0;  // of them, not computed again
  uint64_t output_tokens = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  void open(const SessionOpen& open);  // a repeat changes nothing and is answered again
  void close(SessionId session);       // finished or cancelled; unknown ones are fine
  void commit(const BatchResult& result);
  void start_new_run();

  bool ready() const;           // next() would return a Batch
  std::optional<Batch> next();  // an empty Batch may carry commands only
  std::vector<StageEvent> take_answers();
  SchedulerStats stats() const;

 private:
  enum class State { waiting, running, cached };
  struct Sequence {
    SessionId id;
    State state = State::waiting;
    std::vector<TokenId> ids;  // prompt, then output as far as known
    std::vector<PlacedImage> images;
    int length_limit = 0;     // ids it may have at most
    int written = 0;          // positions given to a batch of this run
    int committed = 0;        // positions every stage is known to hold
    int reserved_blocks = 0;  // promised while running
    int cached_tokens = 0;
    bool sampling = false;  // its next token is in flight
    bool closed = false;    // the asker knows that it is over
    uint64_t last_used = 0;

    int pending() const { return static_cast<int>(ids.size()) - written; }
    bool schedulable() const { return state == State::running && !sampling && pending() > 0; }
    bool decoding() const { return state == State::running && pending() <= 1; }
  };
  struct Prefix {
    SessionId from;
    int length = 0;
  };

  std::optional<Error> refusal(const SessionOpen& open) const;
  void answer_accepted(const Sequence& sequence);
  void admit();
  bool try_start(Sequence& sequence);
  Prefix longest_prefix(const Sequence& sequence) const;
  static int common_length(const Sequence& a, const Sequence& b, int most);
  bool evict_one(SessionId except);
  void finish(Sequence& sequence);
  void retire_redundant(const Sequence& kept);
  int reusable(const Sequence& sequence) const;
  int owed_blocks() const;
  void erase(SessionId session);
  void release(SessionId session);
  void confirm(Batch& batch);  // every stage has applied it
  void commit_token(const TokenEvent& event);
  void roll_back(Sequence& sequence);
  void forget(const std::vector<SessionId>& lost);
  void remember_closed(SessionId session);

  int decode_group_size() const;
  int prefill_rows(const Batch& batch) const;
  void add_decode_rows(Batch& batch);
  void add_prefill_rows(Batch& batch);
  void add_entry(Batch& batch, Sequence& sequence, int count);

  const SchedulerOptions options_;
  BlockManager blocks_;  // what every stage will hold once it has applied the batches made so far
  std::map<SessionId, Sequence> sequences_;
  std::deque<SessionId> waiting_;        // in order of arrival
  std::vector<SessionId> running_;       // in order of admission
  std::vector<CacheCommand> commands_;   // for the next batch
  std::map<uint64_t, Batch> in_flight_;  // by number, of this run
  std::vector<StageEvent> answers_;
  std::deque<SessionId> closed_order_;  // late repeats of these are not started again
  std::unordered_set<SessionId> closed_;
  uint64_t run_ = 0;
  uint64_t number_ = 0;
  uint64_t clock_ = 0;  // counts uses, for least recently used
  SchedulerStats totals_;
};

}  // namespace exo
