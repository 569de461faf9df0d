// Discovery finds peers; it does not connect to them. Two exist: udp (signed announcements) and
// manual (a JSON file). Sightings come on the discovery's own thread. start() fails with what to do
// when nothing can be sent.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "core/ids.h"
#include "core/messages.h"

namespace exo {

struct PeerSighting {
  NodeId id;  // may be empty for a manual entry without one
  std::string name;
  PeerAddress address;
  bool leaving = false;
};

struct ForeignSighting {  // a node of another cluster: listed, never linked
  std::string cluster_id;
  std::string name;
  std::string host;
};

struct DiscoveryHandler {
  std::function<void(const PeerSighting&)> on_peer;
  std::function<void(const ForeignSighting&)> on_foreign;
  std::function<void(const std::string&)>
      on_problem;  // for people, e.g. a bad edit of the peers file
};

class Discovery {
 public:
  virtual ~Discovery() = default;
  virtual Result<void> start(DiscoveryHandler handler) = 0;
  virtual void stop() = 0;
};

}  // namespace exo
