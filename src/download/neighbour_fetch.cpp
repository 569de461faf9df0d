#include "download/neighbour_fetch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "download/piece_hashes.h"
#include "download/sparse_store.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPieceBytes = 512u << 10;  // little enough not to hold up a token behind it
constexpr uint64_t kCommitBytes = 64u << 20;
constexpr size_t kReaders = 4;
constexpr auto kTurn = std::chrono::milliseconds(5);
constexpr auto kWait = std::chrono::milliseconds(200);  // for others to have more
constexpr int64_t kPatienceMs = 30'000;

Result<void> store(SparseWriter& writer, ByteRange range, const std::vector<std::byte>& bytes,
                   DownloadWatch& watch) {
  const RangeSet fresh =
      TRY(writer.write(range.begin, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                       SparseWriter::From::neighbour));
  watch.done_bytes += fresh.bytes();
  watch.fetched_bytes += bytes.size();
  return {};
}

// One file's copying: pieces, and from whom each may come.
class Copy {
 public:
  Copy(Neighbours& neighbours, FileName name, SparseWriter& writer, DownloadWatch& watch)
      : neighbours_(neighbours), name_(std::move(name)), writer_(writer), watch_(watch) {}

  // The bytes that came. What did not come is still missing afterwards.
  Result<uint64_t> run(const std::vector<Neighbours::Offer>& offers, const RangeSet& missing) {
    RangeSet left = missing;
    for (const Neighbours::Offer& offer : offers) {
      const RangeSet theirs = left.common(offer.ranges);
      for (const ByteRange& range : theirs.ranges())
        for (uint64_t begin = range.begin; begin < range.end; begin += kPieceBytes)
          pieces_.push_back({offer.node, {begin, std::min(range.end, begin + kPieceBytes)}});
      left = left.without(theirs);
    }
    reading_ = std::min(kReaders, pieces_.size());
    std::vector<std::thread> readers;
    for (size_t i = reading_; i > 0; --i) readers.emplace_back([this] { read(); });
    Result<void> kept;
    while (reading_ > 0) {
      std::this_thread::sleep_for(kTurn);
      if (watch_.on_progress) watch_.on_progress();
      if (kept.ok() && writer_.uncommitted_bytes() >= kCommitBytes) kept = writer_.commit();
    }
    for (std::thread& reader : readers) reader.join();
    if (failure_) return *failure_;
    TRY(std::move(kept));
    TRY(writer_.commit());
    return copied_.load();
  }

 private:
  struct Piece {
    NodeId node;
    ByteRange range;
  };

  void read() {
    set_thread_name("exo-copy");
    while (const auto piece = next()) {
      const auto bytes = neighbours_.read(piece->node, name_, piece->range);
      if (bytes)
        keep(piece->range, *bytes);
      else
        give_up(piece->node);
    }
    --reading_;
  }

  std::optional<Piece> next() {
    const std::lock_guard lock(mutex_);
    while (!pieces_.empty() && !failure_ && !watch_.stopped()) {
      Piece piece = std::move(pieces_.front());
      pieces_.pop_front();
      if (!silent_.contains(piece.node)) return piece;
    }
    return std::nullopt;
  }

  void keep(ByteRange range, const std::vector<std::byte>& bytes) {
    if (const auto stored = store(writer_, range, bytes, watch_); !stored.ok()) {
      const std::lock_guard lock(mutex_);
      failure_ = stored.error();
      return;
    }
    copied_ += bytes.size();
  }

  void give_up(const NodeId& node) {
    const std::lock_guard lock(mutex_);
    silent_.insert(node);
  }

  Neighbours& neighbours_;
  const FileName name_;
  SparseWriter& writer_;
  DownloadWatch& watch_;
  std::mutex mutex_;
  std::deque<Piece> pieces_;
  std::set<NodeId> silent_;  // asked for nothing more
  std::optional<Error> failure_;
  std::atomic<uint64_t> copied_ = 0;
  std::atomic<size_t> reading_ = 0;
};

// Withdrawn at the end of its life.
class Announcement {
 public:
  Announcement(Neighbours& neighbours, FileName name)
      : neighbours_(&neighbours), name_(std::move(name)) {}
  Announcement(Announcement&& other) noexcept
      : neighbours_(std::exchange(other.neighbours_, nullptr)), name_(std::move(other.name_)) {}
  Announcement& operator=(Announcement&&) = delete;
  ~Announcement() {
    if (neighbours_ != nullptr) neighbours_->withdraw(name_);
  }

 private:
  Neighbours* neighbours_;
  FileName name_;
};

struct Coming {
  std::string file;
  Neighbours::Offer from;
};

struct Turn {
  std::vector<WantedFile> ours;  // for the hub; of others' files no ranges
  std::vector<Announcement> announcements;
  std::vector<Coming> coming;
  bool others = false;  // more will be found at neighbours in a while
  bool hub = false;     // there is something to ask it for
  uint64_t copied_bytes = 0;
};

// How long others are waited for when there is nothing left to do: as long as they bring at least
// an eighth of what the hub gave to this node in the same time, or anything where it gave nothing.
class Patience {
 public:
  explicit Patience(World& clock) : clock_(clock), since_ms_(clock.now_ms()) {}

  void hub_gave(uint64_t bytes, int64_t ms) {
    hub_bytes_ += bytes;
    hub_ms_ += ms;
    since_ms_ = clock_.now_ms();
    came_bytes_ = 0;
  }
  bool over(uint64_t copied_bytes) {
    came_bytes_ += copied_bytes;
    const int64_t waited_ms = clock_.now_ms() - since_ms_;
    if (waited_ms < kPatienceMs) return false;
    const double hub = static_cast<double>(hub_bytes_) / static_cast<double>(hub_ms_ + 1);
    const double others = static_cast<double>(came_bytes_) / static_cast<double>(waited_ms);
    since_ms_ = clock_.now_ms();
    return std::exchange(came_bytes_, 0) == 0 || others * 8 < hub;
  }

 private:
  World& clock_;
  int64_t since_ms_, hub_ms_ = 0;
  uint64_t came_bytes_ = 0, hub_bytes_ = 0;
};

class Together {
 public:
  Together(Neighbours& neighbours, const std::string& source, const FetchPlace& place,
           DownloadWatch& watch)
      : neighbours_(neighbours), source_(source), place_(place), watch_(watch) {}

  Result<void> run(const std::vector<WantedFile>& wanted) {
    World& clock = *place_.hub.options().world;
    Patience patience(clock);
    for (;;) {
      Turn turn = TRY(begin(wanted));
      if (turn.hub) {
        const int64_t begun_ms = clock.now_ms();
        const uint64_t bytes = TRY(ask_hub(turn));
        patience.hub_gave(bytes, clock.now_ms() - begun_ms);
      }
      turn.announcements.clear();
      if (!turn.others || (!turn.hub && patience.over(turn.copied_bytes))) return {};
      std::this_thread::sleep_for(kWait);
    }
  }

 private:
  // Copies what is there, and finds out who fetches what.
  Result<Turn> begin(const std::vector<WantedFile>& wanted) {
    Turn turn;
    for (const WantedFile& file : wanted) {
      if (watch_.stopped()) return Error{ErrorCode::cancelled, "the download was cancelled"};
      auto writer =
          TRY(SparseWriter::open(place_.ops, place_.folder / file.file.path,
                                 {file.file.size, file.file.oid, place_.commit, {}, {}, {}, {}}));
      RangeSet missing = file.ranges.without(writer->held());
      if (missing.empty()) continue;
      const FileName name{source_, file.file.path};
      const Neighbours::Answer answer = neighbours_.announce(name, missing);
      Announcement announcement(neighbours_, name);
      turn.copied_bytes += TRY(Copy(neighbours_, name, *writer, watch_).run(answer.held, missing));
      missing = missing.without(writer->held());
      const RangeSet ours = missing.common(answer.ours);
      turn.others = turn.others || ours != missing;
      for (const Neighbours::Offer& from : answer.coming)
        turn.coming.push_back({file.file.path, from});
      if (missing.empty()) continue;
      turn.hub = turn.hub || !ours.empty();
      turn.ours.push_back({file.file, ours});
      if (!ours.empty()) turn.announcements.push_back(std::move(announcement));
    }
    return turn;
  }

  // How many bytes it was asked for.
  Result<uint64_t> ask_hub(Turn& turn) {
    uint64_t taken_bytes = 0;
    SharedFetch shared;
    shared.take = [&](const std::string& file, ByteRange range) {
      RangeSet ours = neighbours_.take({source_, file}, range);
      taken_bytes += ours.bytes();
      turn.others = turn.others || ours.bytes() < range.size();  // given away meanwhile
      return ours;
    };
    if (neighbours_.nodes().size() > 1)
      shared.beside = [&](const SharedFetch::Writers& writers, const std::function<bool()>& stop) {
        copy_meanwhile(turn.coming, writers, stop);
      };
    TRY(fetch_ranges(place_, turn.ours, watch_, &shared));
    return taken_bytes;
  }

  void copy_meanwhile(std::vector<Coming> coming, const SharedFetch::Writers& writers,
                      const std::function<bool()>& stop) {
    while (!stop() && !coming.empty()) {
      uint64_t copied_bytes = 0;
      std::erase_if(coming, [&](const Coming& each) {
        const auto writer = writers.find(each.file);
        const auto copied =
            writer == writers.end() ? std::nullopt : copy_begin(each, *writer->second, stop);
        copied_bytes += copied.value_or(0);
        return !copied;
      });
      for (auto waited = kTurn; copied_bytes == 0 && waited < kWait && !stop(); waited += kTurn)
        std::this_thread::sleep_for(kTurn);
    }
  }

  // Of each range what that node has by now, from where it begins. Nothing when it is over with it.
  std::optional<uint64_t> copy_begin(const Coming& coming, SparseWriter& writer,
                                     const std::function<bool()>& stop) {
    const FileName name{source_, coming.file};
    const NodeId& node = coming.from.node;
    const RangeSet missing = coming.from.ranges.without(writer.held());
    if (missing.empty()) return std::nullopt;
    uint64_t copied_bytes = 0;
    for (const ByteRange& range : missing.ranges()) {
      const auto there = neighbours_.hash(node, name, range, "");
      if (!there) return std::nullopt;
      for (ByteRange piece{range.begin, range.begin}; piece.end < there->end && !stop();) {
        piece = {piece.end, std::min(there->end, piece.end + kPieceBytes)};
        const auto bytes = neighbours_.read(node, name, piece);
        if (!bytes || !store(writer, piece, *bytes, watch_).ok()) return std::nullopt;
        copied_bytes += bytes->size();
      }
    }
    return copied_bytes;
  }

  Neighbours& neighbours_;
  const std::string& source_;
  const FetchPlace& place_;
  DownloadWatch& watch_;
};

std::optional<std::string> read_hashes(Neighbours& neighbours, const NodeId& node,
                                       const FileName& name, uint64_t file_bytes) {
  const FileName hashes{name.source, hashes_path(name.file).generic_string()};
  std::string all;
  while (all.size() < hashes_bytes(file_bytes)) {
    const uint64_t end = std::min(hashes_bytes(file_bytes), all.size() + kPieceBytes);
    const auto bytes = neighbours.read(node, hashes, {all.size(), end});
    if (!bytes) return std::nullopt;
    all.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  }
  return all;
}

}  // namespace

Result<void> check_copied(Neighbours& neighbours, const std::string& source,
                          const FetchPlace& place, const std::vector<WantedFile>& wanted) {
  const std::vector<NodeId> nodes = neighbours.nodes();
  for (const WantedFile& file : wanted) {
    const fs::path path = place.folder / file.file.path;
    auto writer = TRY(SparseWriter::open(
        place.ops, path, {file.file.size, file.file.oid, place.commit, {}, {}, {}, {}}));
    if (writer->complete() || writer->doubted().empty()) continue;
    RangeSet right;
    for (size_t i = 1; i < nodes.size() && right.empty(); ++i) {  // the first one is this one
      const auto hashes =
          read_hashes(neighbours, nodes[i], {source, file.file.path}, file.file.size);
      if (!hashes) continue;
      right = TRY(right_pieces(partial_path(path), file.file.size, file.file.oid, *hashes))
                  .common(writer->doubted());
    }
    log::warn("{}: {} MB of what other nodes gave are fetched again from the hub", path.string(),
              writer->doubted().without(right).bytes() / 1'000'000);
    TRY(writer->believe(right));
  }
  return {};
}

Result<void> fetch_together(Neighbours& neighbours, const std::string& source,
                            const FetchPlace& place, const std::vector<WantedFile>& wanted,
                            DownloadWatch& watch) {
  return Together(neighbours, source, place, watch).run(wanted);
}

}  // namespace exo
