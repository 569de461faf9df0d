// What the networking tests share: a folder that goes away, a handler that remembers, a node's
// transport with its identity. Test-only.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/world.h"
#include "networking/grpc_transport.h"

namespace exo {

class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("exo_test_" + std::to_string(real_world().random_u64()))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Waits are bounded only so that a broken test ends; none is expected to last.
class RecordingHandler : public TransportHandler {
 public:
  static constexpr auto kPatience = std::chrono::seconds(20);

  void on_link_up(const NodeId& peer) override {
    change([&] {
      up[peer] = true;
      ++ups[peer];
    });
  }
  void on_link_down(const NodeId& peer, const Error& why) override {
    change([&] {
      up[peer] = false;
      ++downs[peer];
      last_down = why;
    });
  }
  void on_message(const NodeId&, Message message) override {
    change([&] { messages.push_back(std::move(message)); });
  }
  void on_refused(const PeerAddress&, const Error& why) override {
    change([&] { refusals.push_back(why); });
  }

  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, kPatience, condition);
  }
  bool wait_up(const NodeId& peer) {
    return wait([&] { return up[peer]; });
  }
  bool wait_down(const NodeId& peer) {
    return wait([&] { return downs[peer] > 0 && !up[peer]; });
  }
  Message next_message() {
    if (!wait([&] { return !messages.empty(); })) return Leave{"no message came"};
    const std::lock_guard lock(mutex);
    Message first = std::move(messages.front());
    messages.pop_front();
    return first;
  }
  std::string first_refusal() {
    if (!wait([&] { return !refusals.empty(); })) return "nothing was refused";
    const std::lock_guard lock(mutex);
    return refusals.front().message;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::map<NodeId, bool> up;
  std::map<NodeId, int> ups, downs;
  Error last_down;
  std::deque<Message> messages;
  std::vector<Error> refusals;

 private:
  template <class Change>
  void change(Change change) {
    const std::lock_guard lock(mutex);
    change();
    changed.notify_all();
  }
};

struct LinkedNode {
  explicit LinkedNode(const std::filesystem::path& config_dir)
      : LinkedNode(Identity::open({config_dir, ""}).value()) {}
  explicit LinkedNode(std::shared_ptr<const Identity> who, uint16_t port = 0)
      : identity(std::move(who)) {
    GrpcTransportOptions options;
    options.identity = identity;
    options.host = "127.0.0.1";
    options.port = port;
    transport = std::make_unique<GrpcTransport>(options);
    transport->start(handler).value();
  }
  const NodeId& id() const { return identity->node_id(); }
  PeerAddress address() const { return {"127.0.0.1", transport->port(), "loopback"}; }
  void connect_to(const LinkedNode& other) { transport->connect(other.id(), other.address()); }

  std::shared_ptr<const Identity> identity;
  RecordingHandler handler;
  std::unique_ptr<GrpcTransport> transport;
};

}  // namespace exo
