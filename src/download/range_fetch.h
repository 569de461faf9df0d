// fetch_ranges(): brings the wanted ranges of some files of one commit into the store, over several
// connections. What is held already is not asked for again; what breaks off is resumed where it
// stopped. One thread moves bytes from the network to the page cache; two more (store_keeper.h)
// flush and hash beside it. Blocking; ends soon after watch.stopped().
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "download/file_ops.h"
#include "download/hub_client.h"
#include "tensor/range_set.h"

namespace exo {

// What a download tells while it runs, and how it is ended. Any thread.
struct DownloadWatch {
  std::atomic<uint64_t> total_bytes{0};    // of what was wanted
  std::atomic<uint64_t> done_bytes{0};     // of it, here
  std::atomic<uint64_t> fetched_bytes{0};  // came over the network, this time
  std::atomic<bool> stop{false};
  std::function<bool()> also_stop;    // may be empty; asked on the downloading thread
  std::function<void()> on_progress;  // may be empty; often, on the downloading thread

  bool stopped() const { return stop || (also_stop && also_stop()); }
};

struct WantedFile {
  RepoFile file;
  RangeSet ranges;
};

class SparseWriter;

struct FetchPlace {
  const HubClient& hub;
  FileOps& ops;
  std::filesystem::path folder;
  std::string repo, commit;
  int connections = 8;
  uint64_t piece_bytes = 64u << 20;  // at most, asked for at once; flushed after so many
};

// How a fetch goes together with other nodes that want the same.
struct SharedFetch {
  // Right before `range` is asked of the hub: what of it still is to be. On the fetching thread.
  std::function<RangeSet(const std::string& file, ByteRange range)> take;
  // While the hub is asked, on a thread of its own: brings what others fetch, until `stop`. The
  // writers are those of the wanted files, by path in the repo. Empty: no other node is there.
  using Writers = std::map<std::string, SparseWriter*>;
  std::function<void(const Writers&, const std::function<bool()>& stop)> beside;
};

// Adds to done_bytes and fetched_bytes what comes; the caller counts what is wanted and here.
Result<void> fetch_ranges(const FetchPlace& place, const std::vector<WantedFile>& wanted,
                          DownloadWatch& watch, const SharedFetch* shared = nullptr);

}  // namespace exo
