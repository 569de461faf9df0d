#include "download/range_fetch.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <deque>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "download/sparse_store.h"
#include "download/store_keeper.h"

namespace exo {
namespace {

constexpr uint64_t kWorthwhileBytes = 16u << 10;  // less is no progress, but a trickle
constexpr uint64_t kLeastPieceBytes = 8u << 20;   // a request of its own costs less than its bytes
// Where other nodes want the same: what was asked for is not given to them any more.
constexpr uint64_t kLeastSharedBytes = 1u << 20, kMostSharedBytes = 16u << 20;
constexpr uint64_t kBlockBytes = 512u << 10;      // written at once, at most
constexpr uint64_t kNearlyThereBytes = 4u << 20;  // the next request is sent when so little is left
constexpr uint64_t kSpareDiskBytes = 64u << 20;
constexpr int kPollMs = 50;

// How many connections to use. One where it brings as much as this machine can take: then the
// bytes come in order, and are hashed from memory. More as long as it mostly waits.
class Width {
 public:
  Width(int most, uint64_t bytes, int64_t now_us)
      : most_(std::max(1, most)),
        now_(bytes < kLongBytes ? most_ : std::min(most_, kFirst)),
        since_us_(now_us) {}

  size_t connections() const { return static_cast<size_t>(now_); }
  void waited(int64_t us, int64_t now_us) {
    waited_us_ += us;
    if (now_us - since_us_ < kTurnUs) return;
    if (waited_us_ * 2 > now_us - since_us_) now_ = std::min(most_, now_ * 2);
    waited_us_ = 0;
    since_us_ = now_us;
  }

 private:
  static constexpr int kFirst = 1;
  static constexpr uint64_t kLongBytes = 64u << 20;
  static constexpr int64_t kTurnUs = 50'000;

  int most_, now_;
  int64_t since_us_, waited_us_ = 0;
};

// In short steps: glibc copies longer ones by `rep movsb`, which is slow on Zen 3 unless the target
// is aligned.
void append(std::string& block, std::string_view bytes) {
  constexpr size_t kStepBytes = 2048;
  for (size_t i = 0; i < bytes.size(); i += kStepBytes) block += bytes.substr(i, kStepBytes);
}

struct Piece {
  size_t file = 0;
  ByteRange range;
  int attempts = 0;
  int64_t not_before_ms = 0;
};

class Fetch {
 public:
  Fetch(const FetchPlace& place, DownloadWatch& watch, const SharedFetch* shared)
      : place_(place), watch_(watch), shared_(shared), transfers_(place.hub.options().http) {}

  Result<void> run(const std::vector<WantedFile>& wanted) {
    for (const WantedFile& file : wanted) TRY(add(file));
    if (pieces_.empty() && writers_.empty()) return {};
    if (!pieces_.empty() && place_.hub.options().offline)
      return unavailable(fmt::format(
          "a part of {} is not on this device, and nothing is fetched while offline (--offline)",
          place_.repo));
    TRY(check_disk());
    StoreKeeper keeper(writers_, world(), place_.piece_bytes);
    keeper_ = &keeper;
    std::atomic<bool> received = false;
    std::thread beside = copy_beside(received);
    receive();
    received = true;
    if (beside.joinable()) beside.join();
    keeper.close();  // what came is kept in any case
    while (!keeper.wait(kPollMs)) {
      if (failure_ || watch_.stopped()) keeper.abandon();
      if (watch_.on_progress) watch_.on_progress();
    }
    if (watch_.stopped() && !all_complete()) return cancelled();
    if (failure_) return *failure_;
    return keeper.error();
  }

 private:
  struct State {
    WantedFile wanted;
    std::string etag;         // of the place the bytes come from, where the hub names none itself
    bool whole_only = false;  // it answers with the whole file whatever is asked
    int running = 0;
  };
  // A piece that is being received, and its bytes that are not written yet.
  struct Running {
    Piece piece;
    bool begun = false;
    uint64_t offset = 0;
    std::string block;
    uint64_t end() const { return offset + block.size(); }
  };

  static Error cancelled() { return {ErrorCode::cancelled, "the download was cancelled"}; }

  // Until all is here, or it cannot go on.
  void receive() {
    // What a crash may cost.
    const uint64_t most_uncommitted =
        place_.piece_bytes * static_cast<uint64_t>(std::max(1, place_.connections));
    Width width(place_.connections, missing_bytes_, world().now_us());
    while ((!pieces_.empty() || transfers_.running() > 0) && !failure_ && !watch_.stopped()) {
      start_pieces(width.connections());
      const bool all_wait_for_another_try = transfers_.running() == 0;
      if (all_wait_for_another_try || uncommitted_bytes() >= most_uncommitted)
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs / 5));
      else
        width.waited(transfers_.poll(kPollMs), world().now_us());
      for (Running& running : running_) store(running);
      if (watch_.on_progress) watch_.on_progress();
      if (auto kept = keeper_->error(); !kept.ok()) failure_ = kept.error();
    }
  }

  bool among_others() const { return shared_ != nullptr && shared_->beside; }
  std::thread copy_beside(const std::atomic<bool>& received) {
    if (!among_others()) return {};
    SharedFetch::Writers writers;
    for (size_t i = 0; i < files_.size(); ++i)
      writers[files_[i].wanted.file.path] = writers_[i].writer.get();
    return std::thread([this, &received, writers = std::move(writers)] {
      set_thread_name("exo-copy");
      shared_->beside(writers, [&] { return received || watch_.stopped(); });
    });
  }

  bool all_complete() const {
    return std::all_of(writers_.begin(), writers_.end(),
                       [](const auto& file) { return file.writer->complete(); });
  }
  uint64_t uncommitted_bytes() const {
    uint64_t sum = 0;
    for (const auto& file : writers_) sum += file.writer->uncommitted_bytes();
    return sum;
  }
  World& world() const { return *place_.hub.options().world; }

  Result<void> add(const WantedFile& wanted) {
    SparseRecord record{wanted.file.size, wanted.file.oid, place_.commit, {}};
    auto writer =
        TRY(SparseWriter::open(place_.ops, place_.folder / wanted.file.path, std::move(record)));
    const RangeSet missing = wanted.ranges.without(writer->held());
    const bool provable = writer->all_written();
    if (writer->complete() || (missing.empty() && !provable && !among_others())) return {};
    for (const ByteRange& range : missing.ranges())
      pieces_.push_back({writers_.size(), range, 0, 0});
    missing_bytes_ += missing.bytes();
    files_.push_back({wanted, "", false, 0});
    const bool becomes_whole =
        provable || (missing.bytes() + writer->held().bytes() == writer->size());
    writers_.push_back({std::move(writer), becomes_whole});
    return {};
  }

  Result<void> check_disk() const {
    const auto free = place_.ops.free_bytes(place_.folder);
    if (!free || *free >= missing_bytes_ + kSpareDiskBytes) return {};
    return resource_exhausted(fmt::format(
        "the disk has {:.1f} GB free in {}, but {:.1f} GB more are needed: free some space, or set "
        "EXO_HOME to a larger disk",
        static_cast<double>(*free) / 1e9, place_.folder.string(),
        static_cast<double>(missing_bytes_) / 1e9));
  }

  // Smaller ones towards the end: all connections end at the same time, and little is left to hash
  // then.
  uint64_t next_piece_bytes() const {
    uint64_t left = 0;
    for (const Piece& piece : pieces_) left += piece.range.size();
    const uint64_t share = left / (2 * static_cast<uint64_t>(std::max(1, place_.connections)));
    const uint64_t most = place_.piece_bytes;
    if (among_others())
      return std::clamp(share / 4, std::min(kLeastSharedBytes, most),
                        std::min(kMostSharedBytes, most));
    return std::clamp(share, std::min(kLeastPieceBytes, most), most);
  }

  void start_pieces(size_t connections) {
    const int64_t now_ms = world().now_ms();
    for (size_t i = 0; i < pieces_.size() && busy_connections() < connections;) {
      const State& file = files_[pieces_[i].file];
      if (pieces_[i].not_before_ms > now_ms || (file.whole_only && file.running > 0))
        ++i;
      else if (const auto piece = cut_piece(i);
               piece && !writers_[piece->file].writer->held().contains(piece->range))
        start(*piece);  // a server that knows no ranges may have sent it along with another piece
    }
  }

  // Without those that are nearly through, as long as there may be more of them.
  size_t busy_connections() const {
    if (running_.size() >= static_cast<size_t>(place_.connections)) return running_.size();
    return static_cast<size_t>(std::count_if(
        running_.begin(), running_.end(),
        [](const Running& r) { return r.end() + kNearlyThereBytes < r.piece.range.end; }));
  }

  // The first bytes of it, which leave the queue. Nothing when another node fetches them by now.
  std::optional<Piece> cut_piece(size_t index) {
    const uint64_t most = next_piece_bytes();
    Piece piece = pieces_[index];
    if (piece.range.size() > most) {
      piece.range.end = piece.range.begin + most;
      pieces_[index].range.begin = piece.range.end;
    } else {
      pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(index));
    }
    if (shared_ == nullptr) return piece;
    std::vector<ByteRange> ours =
        shared_->take(files_[piece.file].wanted.file.path, piece.range).ranges();
    if (ours.empty()) return std::nullopt;
    piece.range = ours.front();
    for (size_t i = ours.size(); i-- > 1;)
      pieces_.push_front({piece.file, ours[i], piece.attempts, piece.not_before_ms});
    return piece;
  }

  void start(const Piece& piece) {
    State& file = files_[piece.file];
    HttpGet get = place_.hub.get_file(place_.repo, place_.commit, file.wanted.file.path);
    get.range = piece.range;
    get.if_range = file.etag;
    ++file.running;
    running_.push_back({piece, false, piece.range.begin, {}});
    const auto at = std::prev(running_.end());
    get.sink = [this, at](const HttpAnswer& head, uint64_t offset, std::string_view bytes) {
      return take(*at, head, offset, bytes);
    };
    transfers_.start(std::move(get), [this, at](Result<HttpAnswer> answer) {
      store(*at);
      const Piece piece = at->piece;
      running_.erase(at);
      --files_[piece.file].running;
      finish(piece, answer);
    });
  }

  // A size or a hash in the answer's head that contradicts the list of the commit.
  std::optional<Error> contradiction(const State& file, const HttpAnswer& head) const {
    const std::string& oid = file.wanted.file.oid;
    const std::string etag = head.header("x-linked-etag");
    const bool other_hash =
        oid.starts_with("sha256:") && etag.size() == 66 && etag.substr(1, 64) != oid.substr(7);
    std::string size = head.header("content-length");
    if (head.status == 206) {
      const std::string range = head.header("content-range");
      size = range.substr(std::min(range.find('/') + 1, range.size()));
    }
    uint64_t bytes = file.wanted.file.size;
    std::from_chars(size.data(), size.data() + size.size(), bytes);  // "*" and "" say nothing
    if (!other_hash && bytes == file.wanted.file.size) return std::nullopt;
    return corrupt(fmt::format(
        "{} of {} is not the file that the hub listed ({} bytes): it has changed under the same "
        "name; remove what is here with `exo rm` and download again",
        file.wanted.file.path, place_.repo, file.wanted.file.size));
  }

  // Whether its bytes may be those.
  bool accept(const Piece& piece, const HttpAnswer& head) {
    State& file = files_[piece.file];
    if (auto wrong = contradiction(file, head)) {
      failure_ = std::move(wrong);
      return false;
    }
    if (head.status == 200 && piece.range.size() < file.wanted.file.size) file.whole_only = true;
    // The hub's own hash says more than another host's tag.
    const std::string etag = head.header("etag");
    if (head.header("x-linked-etag").empty() && etag.starts_with('"')) file.etag = etag;
    return true;
  }

  bool take(Running& running, const HttpAnswer& head, uint64_t offset, std::string_view bytes) {
    if (!std::exchange(running.begun, true)) {
      if (!accept(running.piece, head)) return false;
      running.offset = offset;
    }
    if (running.block.capacity() < kBlockBytes) {
      running.block = keeper_->spare_block();
      running.block.reserve(kBlockBytes);
    }
    append(running.block, bytes);
    if (running.block.size() >= kBlockBytes) store(running);
    watch_.fetched_bytes += bytes.size();
    return !failure_ && !watch_.stopped();
  }

  // Writes what was received of it.
  void store(Running& running) {
    if (running.block.empty()) return;
    const size_t file = running.piece.file;
    const ByteRange range{running.offset, running.end()};
    const auto written = writers_[file].writer->write(range.begin, running.block);
    if (!written.ok()) {
      if (!failure_) failure_ = written.error();
      return;
    }
    const RangeSet& wanted = files_[file].wanted.ranges;
    watch_.done_bytes += written->bytes() - written->without(wanted).bytes();
    if (*written == RangeSet(range)) keeper_->offer(file, range.begin, std::move(running.block));
    running.offset = range.end;
    running.block.clear();
  }

  void finish(const Piece& piece, const Result<HttpAnswer>& answer) {
    if (failure_ || watch_.stopped()) return;
    const RangeSet missing = writers_[piece.file].writer->missing_of(piece.range);
    if (missing.empty()) return;
    const std::string& path = files_[piece.file].wanted.file.path;
    const bool advanced = piece.range.size() - missing.bytes() >= kWorthwhileBytes;
    const int attempts = advanced ? 1 : piece.attempts + 1;
    std::optional<Error> refused = answer.ok() ? place_.hub.refusal(place_.repo, *answer)
                                               : std::optional<Error>(answer.error());
    if (!refused) refused = unavailable(path + " breaks off again and again");
    const bool broke_off = answer.ok() && (answer->status == 200 || answer->status == 206);
    if (!(broke_off || HubClient::may_try_again(answer)) ||
        attempts >= place_.hub.options().most_attempts) {
      failure_ = std::move(refused);
      return;
    }
    const int pause_ms = place_.hub.pause_ms(attempts, answer);
    log::debug("{}: {}; trying again in {} ms", path, refused->message, pause_ms);
    for (const ByteRange& range : missing.ranges())
      pieces_.push_front({piece.file, range, attempts, world().now_ms() + pause_ms});
  }

  const FetchPlace& place_;
  DownloadWatch& watch_;
  const SharedFetch* const shared_;  // nullptr: nobody else wants it
  HttpTransfers transfers_;
  std::vector<State> files_;
  StoreKeeper::Files writers_;  // of files_
  StoreKeeper* keeper_ = nullptr;
  std::list<Running> running_;
  std::deque<Piece> pieces_;
  uint64_t missing_bytes_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<void> fetch_ranges(const FetchPlace& place, const std::vector<WantedFile>& wanted,
                          DownloadWatch& watch, const SharedFetch* shared) {
  return Fetch(place, watch, shared).run(wanted);
}

}  // namespace exo
