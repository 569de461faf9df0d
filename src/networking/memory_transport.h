// Transport without a network, for tests of whole nodes in one process: a hub joins them, and the
// test cuts links, pauses or kills nodes. Messages pass through the wire format, so node ids must
// be real ones (32 hex digits). Each node delivers on one thread of its own. The hub outlives its
// transports; all calls are thread-safe.
#pragma once

#include <memory>

#include "networking/transport.h"

namespace exo {

class MemoryHub {
 public:
  MemoryHub();
  ~MemoryHub();

  // Joins the hub at start(); connect() ignores the address.
  std::unique_ptr<Transport> create(const NodeId& id);

  void cut(const NodeId& a, const NodeId& b);   // the link goes down and stays down ...
  void heal(const NodeId& a, const NodeId& b);  // ... until here
  void pause(const NodeId& id);                 // like SIGSTOP: it hears nothing, its links stay up
  void resume(const NodeId& id);
  void kill(const NodeId& id);  // like kill -9: never another call to its handler

  class State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace exo
