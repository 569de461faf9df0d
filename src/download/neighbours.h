// Neighbours: the other nodes of the cluster, as a place where bytes of a model's files may be
// already. ShardDownloader copies from them what they have and asks the hub for the rest. A file is
// named by its model, pinned to a commit (to_text(SourceRecord::source)), and its path in the repo.
// Thread-safe; calls may block for seconds.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/file_messages.h"
#include "core/ids.h"
#include "tensor/range_set.h"

namespace exo {

struct FileName {
  std::string source, file;
  auto operator<=>(const FileName&) const = default;
};

class Neighbours {
 public:
  struct Offer {
    NodeId node;
    RangeSet ranges;
  };
  struct Answer {
    std::vector<Offer> held;    // that node has it
    std::vector<Offer> coming;  // not held yet: that node fetches it now
    RangeSet ours;              // of what was announced: this node fetches it, nobody else does
  };

  virtual ~Neighbours() = default;

  // Tells all that this node is about to fetch `wanted`, and asks what they have of it. Of two
  // nodes that announce the same bytes one keeps them; the other one will find them here later.
  virtual Answer announce(const FileName& name, const RangeSet& wanted) = 0;
  // Right before the hub is asked for `range`: what of it is still this node's to fetch. Of what
  // was announced and not taken another node that wants it may have been given a part meanwhile.
  virtual RangeSet take(const FileName& name, ByteRange range) = 0;
  // The announcement is over, whatever came of it.
  virtual void withdraw(const FileName& name) = 0;
  // All bytes of `range`, or nothing.
  virtual std::optional<std::vector<std::byte>> read(const NodeId& node, const FileName& name,
                                                     ByteRange range) = 0;

  // This node, and then those that are linked.
  virtual std::vector<NodeId> nodes() = 0;
  struct HashStep {
    uint64_t end = 0;
    std::string state;
  };
  // RunningHash over what `node` (this one too) holds in order from where `range` begins: how far
  // that is, at most to its end, and the state there. An empty `state` only asks how far.
  virtual std::optional<HashStep> hash(const NodeId& node, const FileName& name, ByteRange range,
                                       std::string state) = 0;
  // Bytes of a model in this folder have come: its files may be provable now.
  virtual void brought(const std::filesystem::path& folder) = 0;
  virtual void tell(const FileProof& proof) = 0;  // to all that are linked
};

}  // namespace exo
