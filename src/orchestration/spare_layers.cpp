#include "orchestration/spare_layers.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "model/model_files.h"
#include "orchestration/stage_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kAgainUs = 300'000'000;  // after a failure: no room, or no neighbour and no hub
constexpr int64_t kLookUs = 200'000;
constexpr uint64_t kStaysFree = 10'000'000'000;

std::optional<size_t> stage_of(const Placement& placement, const NodeId& node) {
  for (size_t i = 0; i < placement.stages.size(); ++i)
    if (placement.stages[i].node == node) return i;
  return std::nullopt;
}

bool ready_here(const PlacementInfo& info, const NodeId& self) {
  return info.state == PlacementState::ready && stage_of(info.placement, self).has_value();
}

std::string purpose_of(const Shard& shard) {
  return fmt::format("spare layers {}-{}", shard.layer_begin, shard.layer_end - 1);
}

}  // namespace

std::optional<SpareShard> next_spare(const CoreView& view, int64_t idle_us,
                                     const std::function<bool(PlacementId)>& done) {
  const NodeId& self = view.self.id;
  for (const PlacementInfo& info : view.placements)
    if (ready_here(info, self) && info.idle_us < idle_us) return std::nullopt;
  for (const PlacementInfo& info : view.placements) {
    const Placement& placement = info.placement;
    if (!ready_here(info, self) || placement.stages.size() < 2 || placement.card.source.empty() ||
        done(placement.id))
      continue;
    const size_t next = (*stage_of(placement, self) + 1) % placement.stages.size();
    return SpareShard{placement, placement.stages[next].shard};
  }
  return std::nullopt;
}

uint64_t room_for_spare_layers(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return 0;
  const uint64_t stays = std::max<uint64_t>(space.capacity / 10, kStaysFree);
  return space.available > stays ? space.available - stays : 0;
}

SpareLayers::SpareLayers(Options options)
    : options_(std::move(options)), thread_([this] { run(); }) {}

SpareLayers::~SpareLayers() { stop(); }

void SpareLayers::ask_to_stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

void SpareLayers::stop() {
  ask_to_stop();
  if (thread_.joinable()) thread_.join();
}

bool SpareLayers::stopping() {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

bool SpareLayers::sleep() {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::milliseconds(options_.poll_ms),
                         [this] { return stopping_; });
}

bool SpareLayers::wait_for_end(const std::string& model_id, int timeout_ms) {
  std::unique_lock lock(mutex_);
  return wake_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                        [&] { return stopping_ || copying_ != model_id; });
}

bool SpareLayers::wanted(PlacementId id) const {
  const CoreView view = options_.view();
  return std::any_of(view.placements.begin(), view.placements.end(),
                     [&](const PlacementInfo& info) {
                       return info.placement.id == id && ready_here(info, view.self.id);
                     });
}

bool SpareLayers::quiet_for(int64_t idle_us) const {
  const auto others = [this](PlacementId id) { return id != current_; };
  return !options_.busy() && next_spare(options_.view(), idle_us, others).has_value();
}

bool SpareLayers::calm() {
  const std::lock_guard lock(mutex_);
  const int64_t now_us = options_.world->now_us();
  if (now_us < look_again_us_) return calm_;
  look_again_us_ = now_us + kLookUs;
  calm_ = quiet_for(1);
  return calm_;
}

// False: it is not to go on at all.
bool SpareLayers::wait_for_quiet(const DownloadWatch& watch) {
  while (!watch.stop && wanted(current_) && sleep()) {
    if (!quiet_for(options_.idle_us)) continue;
    const std::lock_guard lock(mutex_);
    look_again_us_ = 0;
    return true;
  }
  return false;
}

void SpareLayers::run() {
  set_thread_name("exo-spare");
  while (sleep()) {
    if (options_.busy()) continue;
    const CoreView view = options_.view();
    std::erase_if(not_before_us_, [&](const auto& entry) {
      return std::none_of(
          view.placements.begin(), view.placements.end(),
          [&](const PlacementInfo& info) { return info.placement.id == entry.first; });
    });
    const auto done = [this](PlacementId id) {
      const auto found = not_before_us_.find(id);
      return found != not_before_us_.end() && options_.world->now_us() < found->second;
    };
    if (const auto spare = next_spare(view, options_.idle_us, done)) bring(*spare);
  }
}

void SpareLayers::bring(const SpareShard& spare) {
  const PlacementId id = spare.placement.id;
  {
    const std::lock_guard lock(mutex_);
    copying_ = spare.placement.card.id;
    current_ = id;
    look_again_us_ = 0;
  }
  const auto copied = copy(spare);
  {
    const std::lock_guard lock(mutex_);
    copying_.clear();
  }
  wake_.notify_all();
  const bool cancelled = !copied.ok() && copied.error().code == ErrorCode::cancelled;
  not_before_us_[id] = copied.ok() || cancelled ? kNever : options_.world->now_us() + kAgainUs;
  if (!copied.ok() && !cancelled)
    log::info("no {} of {} here: {}", purpose_of(spare.shard), spare.placement.card.id,
              copied.error().message);
}

Result<void> SpareLayers::copy(const SpareShard& spare) {
  const ModelCard& card = spare.placement.card;
  const fs::path folder = TRY(options_.models->locate(card));
  const ModelFiles model = TRY(open_model(folder, card.id));
  const MissingFiles files = TRY(missing_files(model, folder, spare.shard));
  if (files.missing_bytes == 0) return {};
  const uint64_t room = options_.room(folder);
  if (room < files.missing_bytes)
    return resource_exhausted(fmt::format(
        "they take {:.1f} GB, and the disk has {:.1f} GB to spare for them",
        static_cast<double>(files.missing_bytes) / 1e9, static_cast<double>(room) / 1e9));
  // Pauses end the fetch, which lets go of the folder, and not the entry that people see.
  const auto work = [&](const ShardDownloader& downloader, DownloadWatch& watch) -> Result<void> {
    while (true) {
      watch.total_bytes = watch.done_bytes = 0;
      auto fetched = downloader.fetch(folder, files.wanted, watch);
      const bool paused = !fetched.ok() && fetched.error().code == ErrorCode::cancelled;
      if (!paused || !wait_for_quiet(watch)) return fetched;
    }
  };
  return options_.downloads->run(
      card.id, work, [this] { return stopping() || !calm(); }, nullptr, purpose_of(spare.shard));
}

}  // namespace exo
