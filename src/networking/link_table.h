// The links of one node: who is wanted, who is dialled, which of two streams of a pair is the link,
// and in which order the handler hears of it. Owned by GrpcTransport; only grpc_*.cpp and
// link_table.cpp include this. Thread-safe; one timer thread dials and watches deadlines.
//
// A stream starts with Hello from both sides; each answers with Accepted when it likes what it
// sees. Of a pair the node with the smaller id decides: it alone picks a stream (its own or the
// peer's) and says so with a Chosen frame; the other side follows. So both always mean the same
// stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "networking/grpc_stream.h"
#include "networking/grpc_transport.h"

namespace exo {

class LinkTable : public LinkStreamOwner {
 public:
  using Dial = std::function<std::shared_ptr<LinkStream>(const PeerAddress&, const NodeId&)>;
  LinkTable(const GrpcTransportOptions& options, Dial dial);
  ~LinkTable() override;

  void start(TransportHandler& handler);
  void accept(std::shared_ptr<LinkStream> stream);
  void connect(const NodeId& peer, const PeerAddress& address);
  void disconnect(const NodeId& peer);
  bool send(const NodeId& to, const Message& message);
  void set_revoked(const std::vector<NodeId>& nodes);
  // Closes everything and waits until gRPC has let go of every stream.
  void stop();

  const std::shared_ptr<LiveStreams>& live() override { return live_; }
  void on_frame(const std::shared_ptr<LinkStream>& stream, grpc::ByteBuffer& bytes) override;
  void on_closed(const std::shared_ptr<LinkStream>& stream, const grpc::Status& why) override;

 private:
  using StreamPtr = std::shared_ptr<LinkStream>;

  struct Event {
    enum class Kind { up, down, message } kind;
    Error why;         // down
    Message message;   // message
    StreamPtr stream;  // message: read on after delivery
  };
  struct Dialling {
    std::vector<PeerAddress> addresses;  // best interface first
    size_t next_address = 0;
    int backoff_ms = 0;
    int64_t next_dial_us = 0;
    int64_t asked_us = 0;  // last connect(); unnamed ones are forgotten when nobody asks again
    StreamPtr stream;      // the dial in progress
  };
  struct Peer {
    NodeId id;
    bool wanted = false;
    Dialling dialling;
    StreamPtr link;  // up
    int64_t up_since_us = 0;
    StreamPtr pending;  // the peer dialled although we believe the link is up
    std::deque<Event> events;
    bool draining = false;
  };

  bool decides(const NodeId& peer) const { return self_ < peer; }
  Peer& peer_of(const NodeId& id);
  void drain(std::unique_lock<std::mutex>& lock, Peer& peer);
  void deliver(const NodeId& peer, Event& event);
  void refused(const PeerAddress& address, const Error& why, std::unique_lock<std::mutex>& lock);

  bool worth_telling(const std::string& what);
  void complain(const StreamPtr& stream, const Error& why);
  Result<void> handshake_frame(const StreamPtr& stream, const grpc::ByteBuffer& bytes,
                               std::unique_lock<std::mutex>& lock);
  Result<void> message_frame(const StreamPtr& stream, grpc::ByteBuffer& bytes,
                             std::unique_lock<std::mutex>& lock);
  Result<void> greet(const StreamPtr& stream, const grpc::ByteBuffer& bytes,
                     std::unique_lock<std::mutex>& lock);
  void consider(Peer& peer, const StreamPtr& stream);
  void choose(Peer& peer, const StreamPtr& stream);
  void drop_link(Peer& peer, const Error& why);
  void dial_failed(Dialling& dialling);
  void back_off(Dialling& dialling) const;
  void forget_dial(const StreamPtr& stream);

  void run();
  int64_t tick(std::unique_lock<std::mutex>& lock);  // returns when to look again
  int64_t tick_peer(Peer& peer, int64_t now_us);
  int64_t dial_if_due(Dialling& dialling, const NodeId& expected, int64_t now_us);

  const GrpcTransportOptions options_;
  const Dial dial_;
  const NodeId self_;
  const uint64_t incarnation_;
  TransportHandler* handler_ = nullptr;

  const std::shared_ptr<LiveStreams> live_ = std::make_shared<LiveStreams>();
  std::mutex mutex_;
  std::condition_variable wake_, quiet_;
  bool stopping_ = false;
  bool woken_ = false;
  std::map<NodeId, Peer> peers_;
  std::map<std::string, Dialling> unnamed_;  // wanted addresses of unknown nodes, by host:port
  std::set<StreamPtr> streams_;              // everything gRPC still holds
  std::set<NodeId> revoked_;
  std::map<std::string, int64_t> told_us_;  // refusals reported, by text: not again for a while
  size_t delivering_ = 0;
  std::thread timer_;
};

}  // namespace exo
