// Transport over gRPC with mutual TLS: one bidirectional stream of frames (wire.h) per pair of
// nodes. Only holders of a certificate signed by this cluster's key get past the handshake; a
// peer's NodeId is taken from its certificate. See docs/protocol.md for the handshake and for how
// two dials at once become one link. Thread-safe; handler calls come from gRPC's threads and from
// one timer thread, and must not call stop(). start() fails when the port cannot be taken.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "networking/identity.h"
#include "networking/transport.h"

namespace exo {

struct GrpcTransportOptions {
  std::shared_ptr<const Identity> identity;
  std::string host = "0.0.0.0";      // to listen on
  uint16_t port = 0;                 // 0 = any free one
  size_t queue_bytes = 192u << 20;   // unsent, per link; beyond it the link is dropped
  size_t queue_messages = 8192;      // likewise
  int handshake_timeout_ms = 3000;   // from dial or accept to a working link
  int keepalive_interval_ms = 1000;  // a silent peer is asked this often ...
  int keepalive_timeout_ms = 3000;   // ... and given up after this
  int backoff_min_ms = 100;          // between dials of one peer
  int backoff_max_ms = 2000;
};

class GrpcTransport : public Transport {
 public:
  explicit GrpcTransport(GrpcTransportOptions options);
  ~GrpcTransport() override;

  Result<void> start(TransportHandler& handler) override;
  uint16_t port() const override;
  // An empty `peer` dials whoever answers at `address` (a peers file need not name ids).
  void connect(const NodeId& peer, const PeerAddress& address) override;
  void disconnect(const NodeId& peer) override;
  bool send(const NodeId& to, Message message) override;
  // Gives queued messages a moment to leave, then closes every link.
  void stop() override;

  // Drops links to these nodes and refuses them from now on.
  void set_revoked(const std::vector<NodeId>& nodes);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace exo
