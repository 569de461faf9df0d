#include "inference/scheduler.h"

#include <fmt/core.h>

#include <algorithm>

namespace exo {
namespace {

constexpr size_t kRememberedClosed = 4096;
constexpr size_t kMaxPixelBytes = size_t{1} << 30;  // of the pictures of all sequences
// Rows of prompt that may travel with decode rows: the longest a running answer is held up.
constexpr int kMixedPrefillRows = 128;
constexpr int kMinChunkRows = 128;
// A prompt that passes several stages is cut into at least so many chunks per stage, so that
// filling and draining the pipeline costs little.
constexpr int kChunksPerStage = 8;

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), blocks_(options.block_count, options.block_size) {
  CHECK(options.stages >= 1 && options.max_batch_rows >= 1, "a scheduler needs stages and rows");
}

// --- sessions --------------------------------------------------------------------------------

void Scheduler::open(const SessionOpen& open) {
  const auto known = sequences_.find(open.session);
  if (known != sequences_.end() && !known->second.closed) return answer_accepted(known->second);
  if (const auto error = refusal(open)) {
    answers_.push_back(SessionRefused{options_.placement, open.session, *error});
    return;
  }
  Sequence sequence;
  sequence.id = open.session;
  sequence.ids = open.prompt_ids;
  sequence.ids.insert(sequence.ids.end(), open.emitted_ids.begin(), open.emitted_ids.end());
  sequence.images = open.images;
  const int64_t wanted =
      open.sampling.max_tokens > 0
          ? static_cast<int64_t>(open.prompt_ids.size()) + open.sampling.max_tokens
          : options_.context_length;
  const int64_t least = static_cast<int64_t>(sequence.ids.size()) + 1;
  sequence.length_limit =
      static_cast<int>(std::min<int64_t>(std::max(wanted, least), options_.context_length));
  totals_.prompt_tokens += sequence.ids.size();
  waiting_.push_back(open.session);
  sequences_.emplace(open.session, std::move(sequence));
  admit();
  Sequence& opened = sequences_.at(open.session);
  if (opened.state == State::waiting) answer_accepted(opened);
}

std::optional<Error> Scheduler::refusal(const SessionOpen& open) const {
  if (closed_.contains(open.session))
    return Error{ErrorCode::cancelled, "this session is closed already"};
  if (open.prompt_ids.empty()) return invalid_argument("the prompt has no tokens");
  const size_t length = open.prompt_ids.size() + open.emitted_ids.size();
  if (length >= static_cast<size_t>(options_.context_length))
    return invalid_argument(fmt::format(
        "the prompt has {} tokens and the context holds {}; shorten it, or load the model with a "
        "longer context",
        length, options_.context_length));
  const auto outside = [&](TokenId id) {
    return id < 0 || (options_.vocab_size > 0 && id >= options_.vocab_size);
  };
  for (const auto* ids : {&open.prompt_ids, &open.emitted_ids})
    if (const auto bad = std::find_if(ids->begin(), ids->end(), outside); bad != ids->end())
      return invalid_argument(
          fmt::format("token id {} is outside the vocabulary of {}", *bad, options_.vocab_size));
  if (auto fault = image_fault(open, options_.images)) return fault;
  if (!open.images.empty()) {
    size_t pixels = image_bytes(open.images);
    for (const auto& [id, sequence] : sequences_) pixels += image_bytes(sequence.images);
    if (pixels > kMaxPixelBytes)
      return resource_exhausted("too many pictures are waiting already; try again in a moment");
  }
  if (static_cast<int>(waiting_.size()) >= options_.max_queue)
    return resource_exhausted(
        fmt::format("{} requests are waiting already; try again in a moment", waiting_.size()));
  return std::nullopt;
}

void Scheduler::answer_accepted(const Sequence& sequence) {
  answers_.push_back(SessionAccepted{options_.placement, sequence.id, sequence.cached_tokens});
}

void Scheduler::close(SessionId session) {
  const auto found = sequences_.find(session);
  remember_closed(session);
  if (found == sequences_.end()) return;
  found->second.closed = true;
  if (found->second.state != State::cached) finish(found->second);
  admit();
}

void Scheduler::remember_closed(SessionId session) {
  if (!closed_.insert(session).second) return;
  closed_order_.push_back(session);
  if (closed_order_.size() <= kRememberedClosed) return;
  closed_.erase(closed_order_.front());
  closed_order_.pop_front();
}

// The sequence computes no more. What it wrote stays as a prefix for others where it fills a block.
void Scheduler::finish(Sequence& sequence) {
  if (sequence.state == State::waiting) {
    std::erase(waiting_, sequence.id);
    return erase(sequence.id);
  }
  std::erase(running_, sequence.id);
  sequence.state = State::cached;
  sequence.sampling = false;
  sequence.reserved_blocks = 0;
  sequence.last_used = ++clock_;
  if (sequence.written < options_.block_size) return erase(sequence.id);
  retire_redundant(sequence);
}

// A finished answer usually extends the cached turn before it: keep the longer of the two.
void Scheduler::retire_redundant(const Sequence& kept) {
  const int kept_length = reusable(kept);
  std::vector<SessionId> covered;
  for (const auto& [id, other] : sequences_) {
    const int length = reusable(other);
    if (other.state == State::cached && id != kept.id && length <= kept_length &&
        common_length(other, kept, length) == length)
      covered.push_back(id);
  }
  for (const SessionId id : covered) erase(id);
}

// Positions others may share: whole blocks that every stage is known to hold. Not the last id's:
// its position is computed again when the token chosen there was lost.
int Scheduler::reusable(const Sequence& sequence) const {
  const int known = std::min(sequence.committed, static_cast<int>(sequence.ids.size()) - 1);
  return known / options_.block_size * options_.block_size;
}

void Scheduler::erase(SessionId session) {
  release(session);
  sequences_.erase(session);
}

void Scheduler::release(SessionId session) {
  if (blocks_.blocks(session).empty()) return;
  blocks_.release(session);
  commands_.push_back(ReleaseSequence{session});
}

// --- admission -------------------------------------------------------------------------------

void Scheduler::admit() {
  while (!waiting_.empty() && static_cast<int>(running_.size()) < options_.max_sequences) {
    Sequence& sequence = sequences_.at(waiting_.front());
    if (!try_start(sequence)) return;
    waiting_.pop_front();
    answer_accepted(sequence);
  }
}

bool Scheduler::try_start(Sequence& sequence) {
  const Prefix prefix = longest_prefix(sequence);
  // The last token of a sequence is never an input, so it needs no room.
  const int total = blocks_.blocks_for(sequence.length_limit - 1);
  const int fresh = total - prefix.length / options_.block_size;
  const auto room = [&] { return blocks_.free_blocks() - owed_blocks() >= fresh; };
  while (!room() && evict_one(prefix.from)) {
  }
  const auto source = sequences_.find(prefix.from);
  const bool evictable = source != sequences_.end() && source->second.state == State::cached;
  if (!room()) {
    // Last resort: keep of the cached source only what is shared.
    const int freed = blocks_.unshared_blocks(prefix.from, prefix.length);
    if (!evictable || blocks_.free_blocks() - owed_blocks() + freed < fresh) return false;
  }
  if (prefix.length > 0) {
    CHECK(blocks_.share(prefix.from, sequence.id, prefix.length).ok(), "shared prefix is held");
    commands_.push_back(ShareSequence{prefix.from, sequence.id, prefix.length});
    source->second.last_used = ++clock_;
  }
  if (!room()) erase(prefix.from);
  sequence.state = State::running;
  sequence.written = prefix.length;
  sequence.committed = 0;
  sequence.cached_tokens = prefix.length;
  sequence.reserved_blocks = total;
  totals_.cached_tokens += static_cast<uint64_t>(prefix.length);
  running_.push_back(sequence.id);
  return true;
}

Scheduler::Prefix Scheduler::longest_prefix(const Sequence& sequence) const {
  Prefix best;
  // One position must be left to compute: its logits choose the first token.
  const int most = static_cast<int>(sequence.ids.size()) - 1;
  for (const auto& [id, other] : sequences_) {
    const int length = std::min(reusable(other), most);
    if (length <= best.length) continue;
    const int common = common_length(sequence, other, length);
    const int whole = common / options_.block_size * options_.block_size;
    if (whole > best.length) best = {id, whole};
  }
  return best;
}

// Positions, of the first `most`, that hold the same in both: equal ids and equal pictures.
int Scheduler::common_length(const Sequence& a, const Sequence& b, int most) {
  const auto differs = std::mismatch(a.ids.begin(), a.ids.begin() + most, b.ids.begin()).first;
  return alike_until(a.images, b.images, static_cast<int>(differs - a.ids.begin()));
}

bool Scheduler::evict_one(SessionId except) {
  const Sequence* oldest = nullptr;
  for (const auto& [id, sequence] : sequences_)
    if (sequence.state == State::cached && id != except &&
        (oldest == nullptr || sequence.last_used < oldest->last_used))
      oldest = &sequence;
  if (oldest == nullptr) return false;
  erase(oldest->id);
  return true;
}

// Blocks promised to running sequences and not taken yet.
int Scheduler::owed_blocks() const {
  int owed = 0;
  for (const SessionId id : running_)
    owed += sequences_.at(id).reserved_blocks - static_cast<int>(blocks_.blocks(id).size());
  return owed;
}

// --- batches ---------------------------------------------------------------------------------

bool Scheduler::ready() const {
  if (static_cast<int>(in_flight_.size()) >= options_.stages) return false;
  // Commands alone go out when nothing else will carry them soon.
  if (!commands_.empty() && in_flight_.empty()) return true;
  return std::any_of(running_.begin(), running_.end(),
                     [&](SessionId id) { return sequences_.at(id).schedulable(); });
}

std::optional<Batch> Scheduler::next() {
  if (!ready()) return std::nullopt;
  Batch batch;
  batch.placement = options_.placement;
  batch.epoch = options_.epoch;
  batch.run = run_;
  batch.number = number_++;
  batch.commands = std::move(commands_);
  commands_.clear();
  add_decode_rows(batch);
  add_prefill_rows(batch);
  in_flight_.emplace(batch.number, batch);
  return batch;
}

// Decoding sequences are spread over as many batches as there are stages, so that every stage has
// one to work on.
int Scheduler::decode_group_size() const {
  int decoding = 0;
  for (const SessionId id : running_) decoding += sequences_.at(id).decoding() ? 1 : 0;
  return (decoding + options_.stages - 1) / options_.stages;
}

void Scheduler::add_decode_rows(Batch& batch) {
  std::vector<Sequence*> ready;
  for (const SessionId id : running_) {
    Sequence& sequence = sequences_.at(id);
    if (sequence.schedulable() && sequence.decoding()) ready.push_back(&sequence);
  }
  std::stable_sort(ready.begin(), ready.end(), [](const Sequence* a, const Sequence* b) {
    return a->last_used < b->last_used;
  });
  const size_t most = static_cast<size_t>(std::min(decode_group_size(), options_.max_batch_rows));
  if (ready.size() > most) ready.resize(most);
  for (Sequence* sequence : ready) add_entry(batch, *sequence, 1);
}

int Scheduler::prefill_rows(const Batch& batch) const {
  int64_t waiting = 0;
  bool decoding = false;
  for (const SessionId id : running_) {
    const Sequence& sequence = sequences_.at(id);
    decoding = decoding || sequence.decoding();
    if (sequence.schedulable()) waiting += sequence.pending();
  }
  int64_t rows = options_.max_batch_rows - batch.rows();
  if (decoding) rows = std::min<int64_t>(rows, kMixedPrefillRows);
  if (options_.stages > 1) {
    const int64_t share = waiting / (kChunksPerStage * options_.stages);
    rows = std::min(rows, std::max<int64_t>(share, kMinChunkRows));
  }
  return static_cast<int>(rows);
}

// The longest waiting prompt gets at least half; the rest goes to the shortest, which are answered
// soon.
void Scheduler::add_prefill_rows(Batch& batch) {
  int rows = prefill_rows(batch);
  std::vector<Sequence*> prompts;
  for (const SessionId id : running_) {
    Sequence& sequence = sequences_.at(id);
    if (sequence.schedulable() && !sequence.decoding()) prompts.push_back(&sequence);
  }
  if (prompts.empty()) return;
  Sequence* oldest = prompts.front();
  std::stable_sort(prompts.begin(), prompts.end(), [](const Sequence* a, const Sequence* b) {
    return a->pending() < b->pending();
  });
  int others = 0;
  for (const Sequence* prompt : prompts) others += prompt == oldest ? 0 : prompt->pending();
  const int oldest_rows = std::min(oldest->pending(), std::max(rows - others, (rows + 1) / 2));
  rows -= oldest_rows;
  for (Sequence* prompt : prompts) {
    const int count = prompt == oldest ? oldest_rows : std::min(prompt->pending(), rows);
    if (prompt != oldest) rows -= count;
    if (count > 0) add_entry(batch, *prompt, count);
  }
}

void Scheduler::add_entry(Batch& batch, Sequence& sequence, int count) {
  CHECK(blocks_.write(sequence.id, sequence.written, count).ok(), "promised KV room is there");
  BatchEntry entry;
  entry.session = sequence.id;
  entry.first_position = sequence.written;
  entry.count = count;
  entry.sequence_length = static_cast<int>(sequence.ids.size());
  entry.ids.assign(sequence.ids.begin() + sequence.written,
                   sequence.ids.begin() + sequence.written + count);
  entry.images = images_within(sequence.images, sequence.written, sequence.written + count);
  sequence.written += count;
  sequence.last_used = ++clock_;
  if (sequence.pending() == 0) {
    entry.logit_rows = 1;
    sequence.sampling = true;
  }
  batch.entries.push_back(std::move(entry));
}

// --- results ---------------------------------------------------------------------------------

void Scheduler::commit(const BatchResult& result) {
  if (result.placement != options_.placement || result.epoch != options_.epoch ||
      result.run != run_)
    return;
  const auto found = in_flight_.find(result.number);
  if (found == in_flight_.end()) return;
  const Batch batch = found->second;
  // Stages apply batches in order: they have all before this one too, though a result may be late.
  for (auto it = in_flight_.begin(); it != std::next(found); ++it) confirm(it->second);
  in_flight_.erase(found);
  const auto asked = [&](const TokenEvent& event) {
    return std::any_of(batch.entries.begin(), batch.entries.end(), [&](const BatchEntry& entry) {
      return entry.session == event.session && entry.logit_rows > 0;
    });
  };
  for (const TokenEvent& event : result.tokens)
    if (asked(event)) commit_token(event);
  for (const BatchEntry& entry : batch.entries) {
    const auto it = sequences_.find(entry.session);
    if (entry.logit_rows == 0 || it == sequences_.end()) continue;
    // No token came for it: the tail has closed the session already.
    if (it->second.state == State::running && it->second.sampling) finish(it->second);
  }
  admit();
}

void Scheduler::confirm(Batch& batch) {
  batch.commands.clear();
  for (const BatchEntry& entry : batch.entries)
    if (const auto it = sequences_.find(entry.session); it != sequences_.end())
      it->second.committed = std::max(it->second.committed, entry.first_position + entry.count);
}

void Scheduler::commit_token(const TokenEvent& event) {
  const auto found = sequences_.find(event.session);
  if (found == sequences_.end()) return;
  Sequence& sequence = found->second;
  if (!sequence.sampling || event.ids.empty() ||
      event.position != static_cast<int>(sequence.ids.size()))
    return;
  for (const TokenId id : event.ids) {
    if (id < 0 || (options_.vocab_size > 0 && id >= options_.vocab_size)) return;
    if (static_cast<int>(sequence.ids.size()) < sequence.length_limit) sequence.ids.push_back(id);
  }
  totals_.output_tokens += event.ids.size();
  sequence.sampling = false;
  if (event.finish != FinishReason::none ||
      static_cast<int>(sequence.ids.size()) >= sequence.length_limit)
    finish(sequence);
}

// Stages may or may not have applied what was in flight; they all meet at `committed`.
void Scheduler::start_new_run() {
  ++run_;
  number_ = 0;
  std::vector<CacheCommand> commands;
  const auto keep_releases = [&](const std::vector<CacheCommand>& from) {
    for (const CacheCommand& command : from)
      if (std::holds_alternative<ReleaseSequence>(command)) commands.push_back(command);
  };
  for (const auto& [number, batch] : in_flight_) keep_releases(batch.commands);
  keep_releases(commands_);
  in_flight_.clear();
  commands_ = std::move(commands);

  std::vector<CacheCommand> trims;
  std::vector<SessionId> lost;
  for (auto& [id, sequence] : sequences_) {
    if (sequence.state == State::waiting) continue;
    roll_back(sequence);
    const int kept = sequence.state == State::cached ? reusable(sequence) : sequence.committed;
    if (kept == 0) {
      lost.push_back(id);
    } else {
      trims.push_back(TrimSequence{id, sequence.committed});
    }
  }
  forget(lost);
  commands_.insert(commands_.end(), trims.begin(), trims.end());
  admit();
}

void Scheduler::roll_back(Sequence& sequence) {
  sequence.sampling = false;
  sequence.committed = std::min(sequence.committed, static_cast<int>(sequence.ids.size()) - 1);
  sequence.written = sequence.committed;
  blocks_.trim(sequence.id, sequence.committed);
}

// Nothing of these is known to be held. A share that is not confirmed cannot be repeated (some
// stage may have lost its source): running ones start anew, from the front of the queue.
void Scheduler::forget(const std::vector<SessionId>& lost) {
  for (const SessionId id : lost) {
    blocks_.release(id);
    commands_.push_back(ReleaseSequence{id});
    if (sequences_.at(id).state == State::cached) sequences_.erase(id);
  }
  for (size_t i = running_.size(); i-- > 0;) {
    const SessionId id = running_[i];
    Sequence& sequence = sequences_.at(id);
    if (sequence.committed > 0) continue;
    sequence.state = State::waiting;
    sequence.reserved_blocks = 0;
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
    waiting_.push_front(id);
  }
}

std::vector<StageEvent> Scheduler::take_answers() { return std::exchange(answers_, {}); }

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = totals_;
  stats.running = static_cast<int>(running_.size());
  stats.waiting = static_cast<int>(waiting_.size());
  stats.cached = static_cast<int>(sequences_.size()) - stats.running - stats.waiting;
  stats.in_flight = static_cast<int>(in_flight_.size());
  stats.free_blocks = blocks_.free_blocks();
  stats.block_count = blocks_.block_count();
  return stats;
}

}  // namespace exo
