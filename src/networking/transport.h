// Transport: authenticated, ordered, reliable message links between nodes of one cluster. Two
// exist: gRPC with mutual TLS, and one in memory for tests. A link either delivers messages in
// order or goes down; what was queued then is lost (orchestration's protocol survives that). All
// calls are thread-safe and never block on the network; handler calls come from the transport's own
// threads, one at a time per peer, and must not block.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "core/ids.h"
#include "core/messages.h"

namespace exo {

class TransportHandler {
 public:
  virtual ~TransportHandler() = default;
  virtual void on_link_up(const NodeId& peer) = 0;
  virtual void on_link_down(const NodeId& peer, const Error& why) = 0;
  virtual void on_message(const NodeId& from, Message message) = 0;
  // A dial failed for a reason people should hear of (wrong cluster, revoked); `address` as given
  // to connect().
  virtual void on_refused(const PeerAddress& address, const Error& why) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual Result<void> start(TransportHandler& handler) = 0;
  virtual uint16_t port() const = 0;
  // Keep trying (with back-off) to hold a link to `peer` at one of the addresses known for it, best
  // interface first. Calling again adds or refreshes the address. Both sides may call; one link
  // results. An empty id, where the transport can, means whoever answers at `address`.
  virtual void connect(const NodeId& peer, const PeerAddress& address) = 0;
  virtual void disconnect(const NodeId& peer) = 0;  // and stop trying
  // False when there is no link or its queue is full (the link is then dropped: a peer that cannot
  // keep up).
  virtual bool send(const NodeId& to, Message message) = 0;
  virtual void stop() = 0;  // no handler call after it returns
};

}  // namespace exo
