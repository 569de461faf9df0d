// FileClaims: which bytes this node is about to fetch, so that no other node fetches them too. A
// claim is open until every neighbour has answered; while it is, a neighbour with a smaller id may
// take bytes of it. settle() closes it: from then on what it holds is this node's. Two nodes that
// announce at the same time so agree without a third. Thread-safe.
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
  void end(const FileName& name);
  // Another node wants these: what of it is claimed here. `asker_first`: its id is the smaller one.
  RangeSet answer(const FileName& name, const RangeSet& wanted, bool asker_first);

 private:
  struct Claim {
    RangeSet ranges;
    bool settled = false;
  };
  std::mutex mutex_;
  std::map<FileName, Claim> claims_;
};

}  // namespace exo
