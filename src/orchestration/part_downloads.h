// PartDownloads: one download that several nodes do together, each its own layers, and what each of
// them has of it. It answers what others ask this node to fetch (PartRequest), and asks others. It
// keeps no thread: whoever looks at the status asks the other nodes again, and they go on by
// themselves when nobody looks. Thread-safe; nothing blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/world.h"
#include "core/messages.h"
#include "download/downloads.h"
#include "orchestration/core.h"

namespace exo {

struct NodePart {
  NodeId node;
  std::string name;  // of the node
  Shard shard;
  DownloadStatus status;
};
struct PartsStatus {
  DownloadStatus all;  // summed; failed as soon as a node has, with its words
  std::vector<NodePart> nodes;
};

class PartDownloads {
 public:
  struct Options {
    NodeId self;
    std::shared_ptr<Downloads> downloads;
    std::function<bool(const NodeId&, Message)> send;  // false: there is no link
    bool for_others = true;                            // fetch what others ask for
    World* world = &real_world();                      // borrowed
  };
  explicit PartDownloads(Options options);

  struct Target {
    NodeId node;
    std::string name;
    Shard shard;
  };
  // `source`: of all of it, at its commit.
  uint64_t start(const std::string& source, const std::vector<Target>& targets);
  std::optional<PartsStatus> status(uint64_t id);
  std::vector<PartsStatus> list();  // those that this node was asked for, newest first
  bool cancel(uint64_t id);         // false: there is no such one

  void on_request(const NodeId& from, const PartRequest& request);
  void on_status(const NodeId& from, const PartStatus& status);

 private:
  struct Part {
    NodePart node;
    int64_t waiting_since_us = 0;  // for an answer; 0: for none
    uint64_t local_id = 0;         // of Downloads, when it is this node's own
  };
  struct Together {
    std::string source;
    std::vector<Part> parts;
  };

  Result<uint64_t> fetch(const std::string& source, const Shard& shard);
  void ask(uint64_t id, Together& together, bool cancel);
  PartsStatus look(uint64_t id, Together& together);
  DownloadStatus status_here(uint64_t local_id) const;

  const Options options_;
  std::mutex mutex_;
  uint64_t next_id_;  // never one of Downloads, nor of an earlier run of this program
  std::map<uint64_t, Together> together_;
  std::map<std::pair<NodeId, uint64_t>, uint64_t> asked_;  // asker and its number -> Downloads' id
};

// Which node is to hold what: as a placement over these nodes would have it. `nodes`: names or ids;
// empty = all that are here.
Result<std::vector<PartDownloads::Target>> plan_parts(const CoreView& view, const ModelCard& card,
                                                      const CoreOptions& options,
                                                      const std::vector<std::string>& nodes);

}  // namespace exo
