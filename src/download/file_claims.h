// FileClaims: which bytes this node is about to fetch, so that no other node fetches them too. A
// claim is open until every neighbour has answered; while it is, a neighbour with a smaller id may
// take bytes of it. settle() closes it: from then on what it holds is this node's. Two nodes that
// announce at the same time so agree without a third. A settled claim is shared: whoever asks gets
// the second half of what the hub has not been asked for yet, so that all who want the same bytes
// fetch, and one that is quicker or earlier than another takes over from it. Thread-safe.
#pragma once

#include <map>
#include <mutex>

#include "download/neighbours.h"

namespace exo {

class FileClaims {
 public:
  void open(const FileName& name, const RangeSet& wanted);
  // Without `others`; what is left.
  RangeSet settle(const FileName& name, const RangeSet& others);
  // The hub is asked for `range` next: what of it is claimed here; nobody else gets it any more.
  RangeSet take(const FileName& name, ByteRange range);
  void end(const FileName& name);
  // Another node wants these: what of it is claimed here. `asker_first`: its id is the smaller one.
  RangeSet answer(const FileName& name, const RangeSet& wanted, bool asker_first);

 private:
  struct Claim {
    RangeSet ranges;
    RangeSet taken;  // of them
    bool settled = false;
  };
  std::mutex mutex_;
  std::map<FileName, Claim> claims_;
};

}  // namespace exo
