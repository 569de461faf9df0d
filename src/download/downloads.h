// Downloads: what this node is fetching, started by people or by a model that is loaded. Each one
// runs on a thread of its own or, with run(), on the caller's; asking twice for the same joins the
// one that runs. Thread-safe; the destructor ends all and waits for them.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/world.h"
#include "core/file_messages.h"
#include "download/model_catalog.h"
#include "download/shard_downloader.h"

namespace exo {

struct DownloadStatus {
  using State = DownloadState;

  uint64_t id = 0;
  std::string model;    // as it was asked for
  std::string purpose;  // "" = the model is wanted; else what it is good for: "spare layers 6-11"
  State state = State::running;
  Error error;  // failed: why
  uint64_t total_bytes = 0, done_bytes = 0;
  uint64_t fetched_bytes = 0;  // over the network
  double bytes_per_s = 0;      // of the last seconds
  std::optional<double> seconds_left() const {
    if (bytes_per_s <= 0 || total_bytes < done_bytes) return std::nullopt;
    return static_cast<double>(total_bytes - done_bytes) / bytes_per_s;
  }
};
std::string_view to_string(DownloadState state);
// "34 % of 2.0 GB, 45.1 MB/s, 1 min left"
std::string describe(const DownloadStatus& status);

class Downloads {
 public:
  // How much of a model: what opens it and places it, or all of it.
  enum class Extent { headers, all };
  using Work = std::function<Result<void>(const ShardDownloader&, DownloadWatch&)>;

  Downloads(ShardDownloader::Options options, std::shared_ptr<const ModelCatalog> catalog,
            World& world = real_world());
  ~Downloads();

  // not_found where neither a card nor a hub's address has the name.
  Result<uint64_t> start(const std::string& model, Extent extent);
  // On a thread of its own; joins the one of the same `key` that runs.
  uint64_t start(const std::string& model, const std::string& key, Work work);
  std::optional<DownloadStatus> status(uint64_t id) const;
  DownloadStatus wait(uint64_t id, int timeout_ms) const;  // returns early when it has ended
  std::vector<DownloadStatus> list() const;                // running ones, and the last that ended
  bool cancel(uint64_t id);                                // false: there is no such one
  // On this thread, listed like the others; ends soon after stop() is true, which is asked on
  // several threads. `note` is told how far it is, about once a second; may be empty.
  Result<void> run(const std::string& model, const Work& work, std::function<bool()> stop,
                   const std::function<void(const DownloadStatus&)>& note,
                   const std::string& purpose = "");
  bool running(const std::string& model) const;  // without those that have a purpose of their own
  bool any_running() const;
  // Called on the downloading thread whenever one has begun or ended; empty again before what it
  // uses goes away.
  void set_listener(std::function<void()> listener);

  const ModelCatalog& catalog() const { return *catalog_; }
  const ShardDownloader& downloader() const { return downloader_; }

 private:
  struct Job;
  using JobPointer = std::shared_ptr<Job>;
  JobPointer add(const std::string& model, const std::string& key);
  void measure(Job& job) const;
  void tell_listener();
  Result<void> finish(Job& job, Result<void> result);
  DownloadStatus status_of(const Job& job) const;
  JobPointer find(uint64_t id) const;

  const ShardDownloader downloader_;
  const std::shared_ptr<const ModelCatalog> catalog_;
  World& world_;
  mutable std::mutex mutex_;
  mutable std::condition_variable ended_;
  uint64_t next_id_ = 1;
  std::list<JobPointer> jobs_;  // newest first
  std::mutex listener_mutex_;   // held while it is called
  std::function<void()> listener_;
};

}  // namespace exo
