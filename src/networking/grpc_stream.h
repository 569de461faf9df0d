// One gRPC stream between two nodes, dialled or accepted, as a queue of frames to write and frames
// read one at a time. Only grpc_*.cpp include this. Thread-safe; lives until gRPC is done with it
// (it holds itself), and then calls on_closed once. Callbacks come from gRPC's threads and may call
// back into the stream.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "core/messages.h"
#include "networking/wire.h"

namespace exo {

class LinkStream;

// How many streams exist. A dialled stream holds its channel, and gRPC 1.51 aborts when the last
// user of its callback queue goes away on one of gRPC's own threads; so the server, which is a user
// too, is only shut down when no stream is left.
class LiveStreams {
 public:
  void add();
  void remove();
  void wait_for_none();

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  size_t count_ = 0;
};

class LinkStreamOwner {
 public:
  virtual ~LinkStreamOwner() = default;
  virtual const std::shared_ptr<LiveStreams>& live() = 0;
  // The next frame is not read before read_next().
  virtual void on_frame(const std::shared_ptr<LinkStream>& stream, grpc::ByteBuffer& bytes) = 0;
  virtual void on_closed(const std::shared_ptr<LinkStream>& stream, const grpc::Status& why) = 0;
};

class LinkStream : public std::enable_shared_from_this<LinkStream> {
 public:
  virtual ~LinkStream() = default;

  struct QueueLimits {
    size_t bytes = 0;
    size_t messages = 0;
  };
  // False when the stream has ended or its queue is full.
  bool write(grpc::ByteBuffer frame, QueueLimits limits);
  void read_next();
  // Ends the stream; `why` reaches the peer only from the accepting side.
  void close(const grpc::Status& why);
  size_t queued_messages() const;
  virtual std::string peer_certificate() = 0;  // PEM; known once a frame was read

  // --- the owner's notes, guarded by the owner's mutex
  enum class State { hello, accepting, waiting, up, closed };
  const bool dialled;
  const PeerAddress address;  // as dialled
  const NodeId expected;      // who should answer; empty = anyone
  State state = State::hello;
  NodeId peer;
  uint64_t incarnation = 0;
  int64_t deadline_us = 0;  // of the handshake

 protected:
  LinkStream(LinkStreamOwner& owner, bool dialled, PeerAddress address, NodeId expected)
      : dialled(dialled),
        address(std::move(address)),
        expected(std::move(expected)),
        owner_(owner) {}
  virtual void start_write(const grpc::ByteBuffer& frame) = 0;
  virtual void start_read(grpc::ByteBuffer& into) = 0;
  virtual void end(const grpc::Status& why, bool abort) = 0;  // once, under mutex_

  void read_done(bool ok);
  void write_done(bool ok);
  void done(const grpc::Status& status);
  std::shared_ptr<LinkStream> self_;  // until done

 private:
  // Without the lock: gRPC may encrypt and send on this thread, and other senders must not wait for
  // that. An end() that comes in between is put off until after.
  void start_front(std::unique_lock<std::mutex>& lock);
  void end_locked(const grpc::Status& why, bool abort);

  LinkStreamOwner& owner_;
  mutable std::mutex mutex_;
  std::deque<grpc::ByteBuffer> queue_;  // front is being written while writing_
  size_t queued_bytes_ = 0;
  bool writing_ = false;
  bool ended_ = false;
  int starting_ = 0;
  bool end_later_ = false, abort_later_ = false;
  grpc::Status why_;  // when ended by us
  grpc::ByteBuffer incoming_;
};

inline constexpr const char* kLinkMethod = "/exo.Node/Link";

std::shared_ptr<LinkStream> dial_stream(LinkStreamOwner& owner,
                                        std::shared_ptr<grpc::Channel> channel, PeerAddress address,
                                        NodeId expected);

// Returns the reactor to hand to gRPC, and the stream.
std::pair<grpc::ServerGenericBidiReactor*, std::shared_ptr<LinkStream>> accept_stream(
    LinkStreamOwner& owner, grpc::GenericCallbackServerContext* context);

// Frames in gRPC's buffers.
grpc::ByteBuffer to_buffer(Frame frame);
Result<Message> from_buffer(const grpc::ByteBuffer& buffer);

}  // namespace exo
