// SpareLayers: a second copy of each layer of a loaded model in the cluster. While nobody asks a
// model anything, each node of its ring brings the layers of the next node onto its own disk, so
// that they need not be fetched when that node dies. Neighbours are asked before the hub; it pauses
// as soon as this node computes or the model is asked something, and it never fills a disk. Each
// copying is an entry of Downloads, where people see and cancel it; what was cancelled is not begun
// again for that placement. A thread of its own; stop() from any other one, then nothing is used
// any more.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/world.h"
#include "download/downloads.h"
#include "orchestration/core.h"
#include "orchestration/model_library.h"

namespace exo {

struct SpareShard {
  Placement placement;
  Shard shard;  // of the next node
};

// What a node should have a copy of: of its idle placements the first that is not `done` with.
// Nothing as long as one that it takes part in is in use.
std::optional<SpareShard> next_spare(const CoreView& view, int64_t idle_us,
                                     const std::function<bool(PlacementId)>& done);

class SpareLayers {
 public:
  struct Options {
    std::shared_ptr<ModelLibrary> models;
    std::shared_ptr<Downloads> downloads;
    std::function<CoreView()> view;  // of this node; any thread
    std::function<bool()> busy;      // this node computes for somebody; any thread
    int64_t idle_us = 10'000'000;    // a model unused for so long is idle
    int poll_ms = 1000;
    // Bytes that are free where this folder lies, beside what stays free in any case.
    std::function<uint64_t(const std::filesystem::path&)> room;
    World* world = &real_world();  // borrowed
  };
  explicit SpareLayers(Options options);
  ~SpareLayers();

  void ask_to_stop();
  void stop();
  // Waits until nothing of this model, which is loaded no more, is being copied; false: too long.
  bool wait_for_end(const std::string& model_id, int timeout_ms);

 private:
  void run();
  void bring(const SpareShard& spare);
  Result<void> copy(const SpareShard& spare);
  // Nobody has wanted this node or the placement for so long.
  bool quiet_for(int64_t idle_us) const;
  bool calm();  // at all; looked up five times a second at most
  bool wait_for_quiet(const DownloadWatch& watch);
  bool wanted(PlacementId id) const;
  bool stopping();
  bool sleep();  // false: stop

  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::string copying_;  // a model's id
  PlacementId current_;
  bool calm_ = true;
  int64_t look_again_us_ = 0;
  std::map<PlacementId, int64_t> not_before_us_;  // of the thread
  std::thread thread_;                            // last: it uses the rest
};

// Free bytes of the disk, less a tenth of it and at least 10 GB, which stay free.
uint64_t room_for_spare_layers(const std::filesystem::path& folder);

}  // namespace exo
