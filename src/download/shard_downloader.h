// ShardDownloader: fetches models into the downloads folder, and of each only what is asked for.
// prepare() brings what is needed to open a model and place it (small files, headers of the weight
// files, the pinned commit); fetch() brings ranges of weights; fetch_all() the rest. Blocking, on
// any thread; two calls for one folder, of this process or another one, wait for each other.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "download/hub_client.h"
#include "download/model_source.h"
#include "download/neighbours.h"
#include "download/range_fetch.h"

namespace exo {

class ShardDownloader {
 public:
  struct Options {
    std::filesystem::path downloads;
    HubOptions hub;
    int connections = 8;
    uint64_t piece_bytes = 64u << 20;        // a crash costs less than this per connection
    FileOps* ops = &real_file_ops();         // borrowed
    std::shared_ptr<Neighbours> neighbours;  // asked before the hub; may be null
  };
  // Name of a weight file in the folder -> wanted bytes. Those close together become one.
  using Ranges = std::map<std::string, RangeSet>;

  explicit ShardDownloader(Options options) : options_(std::move(options)), hub_(options_.hub) {}

  // The folder. Asks the hub which commit and files these are only the first time; asking for
  // another revision than the one that is here makes another folder.
  Result<std::filesystem::path> prepare(const ModelSource& source, DownloadWatch& watch) const;
  Result<void> fetch(const std::filesystem::path& folder, const Ranges& ranges,
                     DownloadWatch& watch) const;
  Result<void> fetch_all(const std::filesystem::path& folder, DownloadWatch& watch) const;

  const std::filesystem::path& downloads() const { return options_.downloads; }

 private:
  Result<bool> claim(const std::filesystem::path& folder, const SourceRecord& record,
                     const DownloadWatch& watch) const;
  Result<void> bring(const std::filesystem::path& folder, const SourceRecord& record,
                     const std::vector<WantedFile>& wanted, DownloadWatch& watch) const;
  Result<void> bring_once(const FetchPlace& place, const std::string& source,
                          const std::vector<WantedFile>& wanted, DownloadWatch& watch) const;
  Result<void> bring_headers(const std::filesystem::path& folder, const SourceRecord& record,
                             DownloadWatch& watch) const;
  std::optional<std::filesystem::path> find_folder(const ModelSource& source) const;

  const Options options_;
  const HubClient hub_;
};

// What a folder of the store came from. Nothing for one that a person put there.
Result<std::optional<SourceRecord>> read_source_record(const std::filesystem::path& folder);

// How much of a folder's weights is here, and how much of that was proved by the file's hash.
struct HeldBytes {
  uint64_t held = 0, proved = 0, total = 0;
  bool complete() const { return held == total; }
};
Result<HeldBytes> held_bytes(const std::filesystem::path& folder, const SourceRecord& record);
// What a proof says of a file that is partly here: `right` is proved, `wrong` counts as missing.
// Waits for a download into this folder.
Result<void> note_proof(const std::filesystem::path& folder, const std::string& file,
                        const RangeSet& right, const RangeSet& wrong, const DownloadWatch& watch);

}  // namespace exo
