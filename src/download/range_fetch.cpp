#include "download/range_fetch.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/thread_name.h"
#include "download/sparse_store.h"

namespace exo {
namespace {

constexpr int64_t kCommitEveryMs = 1000;
constexpr uint64_t kHashBytesPerTurn = 32u << 20;
constexpr uint64_t kWorthwhileBytes = 16u << 10;  // less is no progress, but a trickle
constexpr int kKeeperTurnMs = 50, kPollMs = 50;
constexpr uint64_t kSpareDiskBytes = 64u << 20;

// Flushes, keeps records and hashes beside the network's thread.
class Keeper {
 public:
  Keeper(std::vector<std::unique_ptr<SparseWriter>>& files, World& world, uint64_t commit_bytes)
      : files_(files),
        world_(world),
        commit_bytes_(commit_bytes),
        failures_(files.size()),
        thread_([this] { run(); }) {}
  ~Keeper() { end(); }

  // Waits until all is on disk, and every complete file proved.
  Result<void> close() {
    end();
    return error();
  }
  Result<void> error() const {
    const std::lock_guard lock(mutex_);
    for (const auto& failure : failures_)
      if (failure) return *failure;
    return {};
  }

 private:
  void end() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  void run() {
    set_thread_name("exo-store");
    for (bool last = false; !last;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, std::chrono::milliseconds(kKeeperTurnMs), [&] { return closing_; });
        last = closing_;
      }
      const bool due = last || world_.now_ms() - committed_ms_ >= kCommitEveryMs;
      if (due) committed_ms_ = world_.now_ms();
      for (size_t i = 0; i < files_.size(); ++i) {
        if (failures_[i] || files_[i]->complete()) continue;  // written by this thread only
        if (auto kept = keep(*files_[i], due); !kept.ok()) {
          const std::lock_guard lock(mutex_);
          failures_[i] = kept.error();
        }
      }
    }
  }
  Result<void> keep(SparseWriter& file, bool due) const {
    if (file.held().prefix_end() == file.size()) return file.finish();
    if (due || file.uncommitted_bytes() >= commit_bytes_) TRY(file.commit());
    return file.hash_some(kHashBytesPerTurn);
  }

  std::vector<std::unique_ptr<SparseWriter>>& files_;
  World& world_;
  const uint64_t commit_bytes_;
  int64_t committed_ms_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool closing_ = false;
  std::vector<std::optional<Error>> failures_;  // one per file
  std::thread thread_;                          // last: it uses the rest
};

struct Piece {
  size_t file = 0;
  ByteRange range;
  int attempts = 0;
  int64_t not_before_ms = 0;
};

class Fetch {
 public:
  Fetch(const FetchPlace& place, DownloadWatch& watch)
      : place_(place), watch_(watch), transfers_(place.hub.options().http) {}

  Result<void> run(const std::vector<WantedFile>& wanted) {
    for (const WantedFile& file : wanted) TRY(add(file));
    if (pieces_.empty() && writers_.empty()) return {};
    if (!pieces_.empty() && place_.hub.options().offline)
      return unavailable(fmt::format(
          "a part of {} is not on this device, and nothing is fetched while offline (--offline)",
          place_.repo));
    TRY(check_disk());
    Keeper keeper(writers_, world(), place_.piece_bytes);
    // What a crash may cost.
    const uint64_t most_uncommitted =
        place_.piece_bytes * static_cast<uint64_t>(std::max(1, place_.connections));
    while ((!pieces_.empty() || transfers_.running() > 0) && !failure_ && !watch_.stopped()) {
      start_pieces();
      const bool ahead_of_disk = uncommitted_bytes() >= most_uncommitted;
      if (!ahead_of_disk) transfers_.poll(kPollMs);
      // All of them wait for another try, or the network for the disk.
      if (ahead_of_disk || (transfers_.running() == 0 && !pieces_.empty()))
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs / 5));
      if (watch_.on_progress) watch_.on_progress();
      if (auto kept = keeper.error(); !kept.ok()) failure_ = kept.error();
    }
    auto kept = keeper.close();  // what came is kept in any case
    if (watch_.stopped()) return Error{ErrorCode::cancelled, "the download was cancelled"};
    if (failure_) return *failure_;
    return kept;
  }

 private:
  struct State {
    WantedFile wanted;
    std::string etag;         // of the place the bytes come from, where the hub names none itself
    bool whole_only = false;  // it answers with the whole file whatever is asked
    int running = 0;
  };

  uint64_t uncommitted_bytes() const {
    uint64_t sum = 0;
    for (const auto& writer : writers_) sum += writer->uncommitted_bytes();
    return sum;
  }
  World& world() const { return *place_.hub.options().world; }

  Result<void> add(const WantedFile& wanted) {
    SparseRecord record{wanted.file.size, wanted.file.oid, place_.commit, {}};
    auto writer =
        TRY(SparseWriter::open(place_.ops, place_.folder / wanted.file.path, std::move(record)));
    const RangeSet missing = wanted.ranges.without(writer->held());
    const bool provable = writer->held().prefix_end() == writer->size();
    if (writer->complete() || (missing.empty() && !provable)) return {};
    for (const ByteRange& range : missing.ranges())
      for (uint64_t begin = range.begin; begin < range.end; begin += place_.piece_bytes)
        pieces_.push_back(
            {writers_.size(), {begin, std::min(range.end, begin + place_.piece_bytes)}, 0, 0});
    missing_bytes_ += missing.bytes();
    files_.push_back({wanted, "", false, 0});
    writers_.push_back(std::move(writer));
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

  void start_pieces() {
    const int64_t now_ms = world().now_ms();
    for (size_t i = 0; i < pieces_.size();) {
      if (transfers_.running() >= static_cast<size_t>(place_.connections)) return;
      State& file = files_[pieces_[i].file];
      if (pieces_[i].not_before_ms > now_ms || (file.whole_only && file.running > 0)) {
        ++i;
        continue;
      }
      const Piece piece = pieces_[i];
      pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(i));
      // A server that knows no ranges may have sent it along with another piece.
      if (!writers_[piece.file]->held().contains(piece.range)) start(piece);
    }
  }

  void start(const Piece& piece) {
    State& file = files_[piece.file];
    HttpGet get = place_.hub.get_file(place_.repo, place_.commit, file.wanted.file.path);
    get.range = piece.range;
    get.if_range = file.etag;
    ++file.running;
    get.sink = [this, piece](const HttpAnswer& head, uint64_t offset, std::string_view bytes) {
      return take(piece, head, offset, bytes);
    };
    transfers_.start(std::move(get), [this, piece](Result<HttpAnswer> answer) {
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

  bool take(const Piece& piece, const HttpAnswer& head, uint64_t offset, std::string_view bytes) {
    State& file = files_[piece.file];
    if (auto wrong = contradiction(file, head)) {
      failure_ = std::move(wrong);
      return false;
    }
    if (head.status == 200 && piece.range.size() < file.wanted.file.size) file.whole_only = true;
    // The hub's own hash says more than another host's tag.
    const std::string etag = head.header("etag");
    if (head.header("x-linked-etag").empty() && etag.starts_with('"')) file.etag = etag;
    const RangeSet fresh =
        RangeSet(ByteRange{offset, offset + bytes.size()}).without(writers_[piece.file]->held());
    for (const ByteRange& range : fresh.ranges()) {
      const auto part = bytes.substr(range.begin - offset, range.size());
      if (auto written = writers_[piece.file]->write(range.begin, part); !written.ok()) {
        failure_ = written.error();
        return false;
      }
    }
    watch_.done_bytes += fresh.bytes() - fresh.without(file.wanted.ranges).bytes();
    watch_.fetched_bytes += bytes.size();
    return !watch_.stopped();
  }

  void finish(const Piece& piece, const Result<HttpAnswer>& answer) {
    if (failure_ || watch_.stopped()) return;
    const RangeSet missing = RangeSet(piece.range).without(writers_[piece.file]->held());
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
  HttpTransfers transfers_;
  std::vector<State> files_;
  std::vector<std::unique_ptr<SparseWriter>> writers_;  // of files_
  std::deque<Piece> pieces_;
  uint64_t missing_bytes_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<void> fetch_ranges(const FetchPlace& place, const std::vector<WantedFile>& wanted,
                          DownloadWatch& watch) {
  return Fetch(place, watch).run(wanted);
}

}  // namespace exo
