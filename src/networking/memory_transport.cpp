#include "networking/memory_transport.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"
#include "networking/wire.h"

namespace exo {
namespace {

constexpr size_t kQueueMessages = 8192;

struct Event {
  enum class Kind { up, down, message } kind;
  NodeId peer;
  Error why;
  Frame frame;
};

struct Node {
  TransportHandler* handler = nullptr;
  std::set<NodeId> wanted;
  std::set<NodeId> links;
  std::deque<Event> events;
  size_t queued_messages = 0;
  bool paused = false;
  bool gone = false;  // killed or stopped
  std::thread thread;
};

Result<Message> reopen(const Frame& frame) {
  std::vector<std::byte> bytes(frame.head.size());
  std::copy(frame.head.begin(), frame.head.end(), reinterpret_cast<char*>(bytes.data()));
  if (frame.payload) bytes.insert(bytes.end(), frame.payload->begin(), frame.payload->end());
  return decode_frame(bytes);
}

}  // namespace

class MemoryHub::State {
 public:
  Result<void> join(const NodeId& id, TransportHandler& handler) {
    const std::lock_guard lock(mutex_);
    if (nodes_.contains(id)) return invalid_argument("node " + id.value + " is already in the hub");
    auto node = std::make_shared<Node>();
    node->handler = &handler;
    nodes_[id] = node;
    node->thread = std::thread([this, id, node] { deliver(id, *node); });
    for (const auto& [other, ignored] : nodes_) link_if_wanted(id, other);
    return {};
  }

  void connect(const NodeId& from, const NodeId& to) {
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(from);
    if (node == nodes_.end() || to == from) return;
    node->second->wanted.insert(to);
    link_if_wanted(from, to);
  }

  void disconnect(const NodeId& from, const NodeId& to) {
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(from);
    if (node == nodes_.end()) return;
    node->second->wanted.erase(to);
    unlink(from, to, unavailable("disconnected"));
  }

  bool send(const NodeId& from, const NodeId& to, const Message& message) {
    Result<Frame> frame = encode_frame(message);
    if (!frame.ok()) {
      log::error("a message to {} was not sent: {}", to.value, frame.error().message);
      return false;
    }
    const std::lock_guard lock(mutex_);
    const auto node = nodes_.find(from);
    const auto peer = nodes_.find(to);
    if (node == nodes_.end() || peer == nodes_.end() || !node->second->links.contains(to))
      return false;
    if (peer->second->queued_messages >= kQueueMessages) {
      unlink(from, to, resource_exhausted("the peer does not keep up"));
      return false;
    }
    ++peer->second->queued_messages;
    peer->second->events.push_back({Event::Kind::message, from, {}, std::move(frame).value()});
    changed_.notify_all();
    return true;
  }

  void cut(const NodeId& a, const NodeId& b) {
    const std::lock_guard lock(mutex_);
    cuts_.insert(pair(a, b));
    unlink(a, b, unavailable("the link was cut"));
  }

  void heal(const NodeId& a, const NodeId& b) {
    const std::lock_guard lock(mutex_);
    cuts_.erase(pair(a, b));
    link_if_wanted(a, b);
  }

  void set_paused(const NodeId& id, bool paused) {
    const std::lock_guard lock(mutex_);
    if (const auto node = nodes_.find(id); node != nodes_.end()) node->second->paused = paused;
    changed_.notify_all();
  }

  // Afterwards no handler call is running or will come.
  void leave(const NodeId& id) {
    std::unique_lock lock(mutex_);
    const auto found = nodes_.find(id);
    if (found == nodes_.end()) return;
    const std::shared_ptr<Node> node = found->second;
    for (const NodeId& peer : std::set<NodeId>(node->links))
      unlink(id, peer, unavailable("the node is gone"));
    node->gone = true;
    nodes_.erase(id);
    changed_.notify_all();
    lock.unlock();
    node->thread.join();
  }

 private:
  static std::pair<NodeId, NodeId> pair(const NodeId& a, const NodeId& b) {
    return a < b ? std::pair(a, b) : std::pair(b, a);
  }

  void link_if_wanted(const NodeId& a, const NodeId& b) {
    const auto one = nodes_.find(a);
    const auto two = nodes_.find(b);
    if (a == b || one == nodes_.end() || two == nodes_.end() || cuts_.contains(pair(a, b))) return;
    if (!one->second->wanted.contains(b) && !two->second->wanted.contains(a)) return;
    if (!one->second->links.insert(b).second) return;
    two->second->links.insert(a);
    one->second->events.push_back({Event::Kind::up, b, {}, {}});
    two->second->events.push_back({Event::Kind::up, a, {}, {}});
    changed_.notify_all();
  }

  void unlink(const NodeId& a, const NodeId& b, const Error& why) {
    for (const bool forth : {true, false}) {
      const NodeId& self = forth ? a : b;
      const NodeId& peer = forth ? b : a;
      const auto node = nodes_.find(self);
      if (node == nodes_.end() || node->second->links.erase(peer) == 0) continue;
      // What was on its way is lost, as on a real link.
      std::erase_if(node->second->events, [&](const Event& event) {
        const bool lost = event.kind == Event::Kind::message && event.peer == peer;
        node->second->queued_messages -= lost ? 1 : 0;
        return lost;
      });
      node->second->events.push_back({Event::Kind::down, peer, why, {}});
    }
    changed_.notify_all();
  }

  void deliver(const NodeId& id, Node& node) {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return node.gone || (!node.paused && !node.events.empty()); });
      if (node.gone) return;
      Event event = std::move(node.events.front());
      node.events.pop_front();
      if (event.kind == Event::Kind::message) --node.queued_messages;
      lock.unlock();
      hand_over(id, node, event);
      lock.lock();
    }
  }

  void hand_over(const NodeId& id, Node& node, const Event& event) {
    if (event.kind == Event::Kind::up) return node.handler->on_link_up(event.peer);
    if (event.kind == Event::Kind::down) return node.handler->on_link_down(event.peer, event.why);
    Result<Message> message = reopen(event.frame);
    if (message.ok()) return node.handler->on_message(event.peer, std::move(message).value());
    log::warn("closing the link with {}: {}", event.peer.value, message.error().message);
    const std::lock_guard lock(mutex_);
    unlink(id, event.peer, message.error());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<NodeId, std::shared_ptr<Node>> nodes_;
  std::set<std::pair<NodeId, NodeId>> cuts_;
};

namespace {

class MemoryTransport : public Transport {
 public:
  MemoryTransport(std::shared_ptr<MemoryHub::State> hub, NodeId id)
      : hub_(std::move(hub)), id_(std::move(id)) {}
  ~MemoryTransport() override { hub_->leave(id_); }

  Result<void> start(TransportHandler& handler) override { return hub_->join(id_, handler); }
  uint16_t port() const override { return 1; }
  void connect(const NodeId& peer, const PeerAddress&) override { hub_->connect(id_, peer); }
  void disconnect(const NodeId& peer) override { hub_->disconnect(id_, peer); }
  bool send(const NodeId& to, Message message) override { return hub_->send(id_, to, message); }
  void stop() override { hub_->leave(id_); }

 private:
  const std::shared_ptr<MemoryHub::State> hub_;
  const NodeId id_;
};

}  // namespace

MemoryHub::MemoryHub() : state_(std::make_shared<State>()) {}
MemoryHub::~MemoryHub() = default;
std::unique_ptr<Transport> MemoryHub::create(const NodeId& id) {
  return std::make_unique<MemoryTransport>(state_, id);
}
void MemoryHub::cut(const NodeId& a, const NodeId& b) { state_->cut(a, b); }
void MemoryHub::heal(const NodeId& a, const NodeId& b) { state_->heal(a, b); }
void MemoryHub::pause(const NodeId& id) { state_->set_paused(id, true); }
void MemoryHub::resume(const NodeId& id) { state_->set_paused(id, false); }
void MemoryHub::kill(const NodeId& id) { state_->leave(id); }

}  // namespace exo
