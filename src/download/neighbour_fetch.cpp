#include "download/neighbour_fetch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "base/thread_name.h"
#include "download/sparse_store.h"

namespace exo {
namespace {

constexpr uint64_t kPieceBytes = 512u << 10;  // little enough not to hold up a token behind it
constexpr uint64_t kCommitBytes = 64u << 20;
constexpr size_t kReaders = 4;
constexpr auto kTurn = std::chrono::milliseconds(5);

// One file's copying: pieces, and from whom each may come.
class Copy {
 public:
  Copy(Neighbours& neighbours, FileName name, SparseWriter& writer, DownloadWatch& watch)
      : neighbours_(neighbours), name_(std::move(name)), writer_(writer), watch_(watch) {}

  // The bytes that came. What did not come is still missing afterwards.
  Result<uint64_t> run(const std::vector<Neighbours::Offer>& offers, const RangeSet& missing) {
    RangeSet left = missing;
    for (const Neighbours::Offer& offer : offers) {
      const RangeSet theirs = left.common(offer.held);
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
    const auto written =
        writer_.write(range.begin, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!written.ok()) {
      const std::lock_guard lock(mutex_);
      failure_ = written.error();
      return;
    }
    copied_ += bytes.size();
    watch_.done_bytes += bytes.size();
    watch_.fetched_bytes += bytes.size();
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

}  // namespace

Result<NeighbourShare> copy_from_neighbours(Neighbours& neighbours, const std::string& source,
                                            const FetchPlace& place,
                                            const std::vector<WantedFile>& wanted,
                                            DownloadWatch& watch) {
  NeighbourShare share;
  for (const WantedFile& file : wanted) {
    if (watch.stopped()) return Error{ErrorCode::cancelled, "the download was cancelled"};
    auto writer = TRY(SparseWriter::open(place.ops, place.folder / file.file.path,
                                         {file.file.size, file.file.oid, place.commit, {}}));
    RangeSet missing = file.ranges.without(writer->held());
    if (missing.empty()) continue;
    const FileName name{source, file.file.path};
    const Neighbours::Answer answer = neighbours.announce(name, missing);
    Announcement announcement(neighbours, name);
    share.copied_bytes += TRY(Copy(neighbours, name, *writer, watch).run(answer.offers, missing));
    missing = missing.without(writer->held());
    const RangeSet ours = missing.common(answer.ours);
    share.others = share.others || ours != missing;
    if (ours.empty()) continue;
    share.ours.push_back({file.file, ours});
    share.announcements.push_back(std::move(announcement));
  }
  return share;
}

}  // namespace exo
