#include "networking/link_table.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "base/world.h"

namespace exo {
namespace {

constexpr size_t kMaxAddresses = 16;  // per peer
constexpr size_t kMaxUngreeted = 64;  // accepted streams that have not said hello yet
constexpr size_t kMaxUnnamed = 256;
constexpr int64_t kForgetUnnamedUs = 30'000'000;
constexpr int64_t kPendingUs = 1'500'000;  // how long a second stream waits for the first to end
constexpr int64_t kPendingAfterDownUs = 200'000;  // a peer that goes away ends both at once
constexpr int64_t kSteadyUs = 2'000'000;  // a link that lasted this long is redialled at once
constexpr int64_t kRetellUs = 30'000'000;

int64_t now_us() { return real_world().now_us(); }

// Link frames: "EXL" version kind, then for hello the sender's incarnation. Longer ones are
// accepted: later versions may append.
std::string hello_frame(uint64_t incarnation) {
  std::string out = {'E', 'X', 'L', static_cast<char>(kWireVersion), 'H'};
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(incarnation >> (8 * i)));
  return out;
}
std::string accepted_frame() { return {'E', 'X', 'L', static_cast<char>(kWireVersion), 'A'}; }
std::string chosen_frame() { return {'E', 'X', 'L', static_cast<char>(kWireVersion), 'C'}; }

grpc::ByteBuffer buffer_of(const std::string& text) {
  const grpc::Slice slice(text);
  return {&slice, 1};
}

// The frame's content after checking its kind.
Result<std::string> read_link_frame(const grpc::ByteBuffer& bytes, char kind) {
  std::vector<grpc::Slice> slices;
  if (bytes.Length() > 4096 || !bytes.Dump(&slices).ok())
    return corrupt("the peer does not speak exo's protocol");
  std::string text;
  for (const grpc::Slice& slice : slices)
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (text.size() < 5 || text.compare(0, 3, "EXL") != 0)
    return corrupt("the peer does not speak exo's protocol");
  if (static_cast<uint8_t>(text[3]) != kWireVersion)
    return unsupported(
        fmt::format("the peer speaks protocol version {}, this exo speaks {}: update the older one",
                    static_cast<uint8_t>(text[3]), int{kWireVersion}));
  if (text[4] != kind) return corrupt("the peer sent its greetings in the wrong order");
  return text.substr(5);
}

uint64_t read_u64(const std::string& text) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= uint64_t{static_cast<uint8_t>(text[i])} << (8 * i);
  return value;
}

int interface_rank(const std::string& type) {
  if (type == "loopback") return 0;
  if (type == "thunderbolt") return 1;
  if (type == "ethernet") return 2;
  if (type == "wifi") return 3;
  return 4;
}

bool same_place(const PeerAddress& a, const PeerAddress& b) {
  return a.host == b.host && a.port == b.port;
}

void add_address(std::vector<PeerAddress>& addresses, const PeerAddress& address) {
  std::erase_if(addresses, [&](const PeerAddress& old) { return same_place(old, address); });
  const auto worse = std::find_if(addresses.begin(), addresses.end(), [&](const PeerAddress& old) {
    return interface_rank(old.interface_type) >= interface_rank(address.interface_type);
  });
  addresses.insert(worse, address);  // newest first among equals
  if (addresses.size() > kMaxAddresses) addresses.pop_back();
}

std::string name_of(const PeerAddress& address) {
  return fmt::format("{}:{}", address.host, address.port);
}

// What the peer is told, and what explain() makes of our own refusals.
grpc::Status to_status(const Error& why) {
  switch (why.code) {
    case ErrorCode::permission_denied:
      return {grpc::StatusCode::PERMISSION_DENIED, why.message};
    case ErrorCode::invalid_argument:
      return {grpc::StatusCode::CANCELLED, why.message};
    default:
      return {grpc::StatusCode::FAILED_PRECONDITION, why.message};
  }
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// What people should hear of a dial that failed; nothing for an unreachable peer.
std::optional<Error> explain(const grpc::Status& status, const PeerAddress& address) {
  const std::string& text = status.error_message();
  if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) return permission_denied(text);
  if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION) return unsupported(text);
  if (contains(text, "certificate verify failed") || contains(text, "CERTIFICATE_VERIFY_FAILED") ||
      contains(text, "unknown ca") || contains(text, "tlsv1 alert"))
    return permission_denied(fmt::format(
        "the device at {} belongs to another cluster: run `exo invite` on one of the two, and "
        "`exo join CODE` with the code it prints on the other",
        name_of(address)));
  return std::nullopt;
}

}  // namespace

LinkTable::LinkTable(const GrpcTransportOptions& options, Dial dial)
    : options_(options),
      dial_(std::move(dial)),
      self_(options.identity->node_id()),
      incarnation_(real_world().random_u64()) {}

LinkTable::~LinkTable() { stop(); }

void LinkTable::start(TransportHandler& handler) {
  handler_ = &handler;
  timer_ = std::thread([this] { run(); });
}

LinkTable::Peer& LinkTable::peer_of(const NodeId& id) {
  Peer& peer = peers_[id];
  peer.id = id;
  return peer;
}

// --- what the transport's owner asks

void LinkTable::connect(const NodeId& id, const PeerAddress& address) {
  const std::lock_guard lock(mutex_);
  if (stopping_ || id == self_) return;
  if (id.value.empty()) {
    for (const auto& [known, peer] : peers_)
      for (const PeerAddress& one : peer.dialling.addresses)
        if (peer.wanted && same_place(one, address) && (peer.link || peer.dialling.stream)) return;
    if (unnamed_.size() >= kMaxUnnamed) return;
    Dialling& dialling = unnamed_[name_of(address)];
    dialling.asked_us = now_us();
    add_address(dialling.addresses, address);
  } else {
    Peer& peer = peer_of(id);
    peer.wanted = true;
    std::vector<PeerAddress>& known = peer.dialling.addresses;
    if (std::none_of(known.begin(), known.end(),
                     [&](const PeerAddress& one) { return same_place(one, address); }))
      peer.dialling.next_dial_us = 0;
    add_address(known, address);
    if (peer.link) return;
  }
  woken_ = true;
  wake_.notify_one();
}

void LinkTable::disconnect(const NodeId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  peer.wanted = false;
  for (const StreamPtr& stream : {peer.dialling.stream, peer.pending, peer.link})
    if (stream) stream->close(grpc::Status(grpc::StatusCode::CANCELLED, "disconnected"));
}

bool LinkTable::send(const NodeId& to, const Message& message) {
  Result<Frame> frame = encode_frame(message);
  if (!frame.ok()) {
    log::error("a message to {} was not sent: {}", to.value, frame.error().message);
    return false;
  }
  grpc::ByteBuffer buffer = to_buffer(std::move(frame).value());
  StreamPtr link;
  {
    const std::lock_guard lock(mutex_);
    const auto found = peers_.find(to);
    if (found == peers_.end() || !found->second.link) return false;
    link = found->second.link;
  }
  if (link->write(std::move(buffer), {options_.queue_bytes, options_.queue_messages})) return true;
  link->close(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the peer does not keep up"));
  return false;
}

void LinkTable::set_revoked(const std::vector<NodeId>& nodes) {
  const std::lock_guard lock(mutex_);
  revoked_ = std::set<NodeId>(nodes.begin(), nodes.end());
  for (const StreamPtr& stream : streams_)
    if (revoked_.contains(stream->peer))
      stream->close(
          {grpc::StatusCode::PERMISSION_DENIED, "this node was removed from the cluster"});
}

void LinkTable::stop() {
  std::unique_lock lock(mutex_);
  if (!handler_) return;
  stopping_ = true;
  // Nothing new starts now. What is queued (a goodbye) gets a moment to leave.
  const auto flushed = [&] {
    return std::all_of(streams_.begin(), streams_.end(), [](const StreamPtr& stream) {
      return stream->state != LinkStream::State::up || stream->queued_messages() == 0;
    });
  };
  for (int i = 0; i < 30 && !flushed(); ++i) quiet_.wait_for(lock, std::chrono::milliseconds(10));
  for (const StreamPtr& stream : streams_)
    stream->close(grpc::Status(grpc::StatusCode::CANCELLED, "stopping"));
  woken_ = true;
  wake_.notify_one();
  quiet_.wait(lock, [&] { return streams_.empty() && delivering_ == 0; });
  handler_ = nullptr;
  peers_.clear();
  unnamed_.clear();
  lock.unlock();
  timer_.join();
  live_->wait_for_none();
}

// --- streams

void LinkTable::accept(StreamPtr stream) {
  const std::lock_guard lock(mutex_);
  const auto ungreeted = std::count_if(streams_.begin(), streams_.end(), [](const StreamPtr& one) {
    return !one->dialled && one->state == LinkStream::State::hello;
  });
  streams_.insert(stream);
  stream->deadline_us = now_us() + options_.handshake_timeout_ms * 1000;
  if (stopping_ || static_cast<size_t>(ungreeted) >= kMaxUngreeted) {
    stream->close(grpc::Status(grpc::StatusCode::UNAVAILABLE, "busy"));
    return;
  }
  stream->write(buffer_of(hello_frame(incarnation_)), {4096, 16});
  stream->read_next();
  woken_ = true;
  wake_.notify_one();
}

void LinkTable::on_frame(const StreamPtr& stream, grpc::ByteBuffer& bytes) {
  std::unique_lock lock(mutex_);
  if (stopping_ || stream->state == LinkStream::State::closed) return;
  const Result<void> good = stream->state == LinkStream::State::up
                                ? message_frame(stream, bytes, lock)
                                : handshake_frame(stream, bytes, lock);
  if (!good.ok()) {
    complain(stream, good.error());
    stream->close(to_status(good.error()));
  }
  if (!stream->peer.value.empty()) drain(lock, peer_of(stream->peer));
}

Result<void> LinkTable::handshake_frame(const StreamPtr& stream, const grpc::ByteBuffer& bytes,
                                        std::unique_lock<std::mutex>& lock) {
  if (stream->state == LinkStream::State::hello) {
    if (auto greeted = greet(stream, bytes, lock); !greeted.ok()) return greeted;
    stream->state = LinkStream::State::accepting;
    stream->write(buffer_of(accepted_frame()), {4096, 16});
  } else if (stream->state == LinkStream::State::accepting) {
    if (auto frame = read_link_frame(bytes, 'A'); !frame.ok()) return frame.error();
    stream->state = LinkStream::State::waiting;
    if (decides(stream->peer)) consider(peer_of(stream->peer), stream);
  } else {
    if (auto frame = read_link_frame(bytes, 'C'); !frame.ok()) return frame.error();
    if (decides(stream->peer)) return corrupt("the peer chose out of turn");
    choose(peer_of(stream->peer), stream);
  }
  stream->read_next();
  return {};
}

Result<void> LinkTable::message_frame(const StreamPtr& stream, grpc::ByteBuffer& bytes,
                                      std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Result<Message> message = from_buffer(bytes);
  bytes.Clear();
  lock.lock();
  if (!message.ok()) return message.error();
  if (stream->state == LinkStream::State::up)
    peer_of(stream->peer)
        .events.push_back({Event::Kind::message, {}, std::move(message).value(), stream});
  return {};
}

bool LinkTable::worth_telling(const std::string& what) {
  const int64_t now = now_us();
  std::erase_if(told_us_, [&](const auto& one) { return now - one.second > kRetellUs; });
  return told_us_.size() < 1024 && told_us_.emplace(what, now).second;
}

void LinkTable::complain(const StreamPtr& stream, const Error& why) {
  const std::string line =
      fmt::format("closing the link with {}: {}",
                  stream->peer.value.empty() ? "a device" : stream->peer.value, why.message);
  const bool harmless = why.code == ErrorCode::invalid_argument || !worth_telling(line);
  log::write(harmless ? log::Level::debug : log::Level::warn, line);
}

// The first frame of a stream: who is there?
Result<void> LinkTable::greet(const StreamPtr& stream, const grpc::ByteBuffer& bytes,
                              std::unique_lock<std::mutex>& lock) {
  const std::string hello = TRY(read_link_frame(bytes, 'H'));
  if (hello.size() < 8) return corrupt("a greeting that is too short");
  lock.unlock();
  const Result<NodeId> id = node_id_of_certificate(stream->peer_certificate());
  lock.lock();
  if (!id.ok()) return id.error();
  if (*id == self_) {
    forget_dial(stream);
    return Error{ErrorCode::invalid_argument, "that address is this node itself"};
  }
  if (revoked_.contains(*id))
    return permission_denied(fmt::format("node {} was removed from this cluster", id->value));
  if (stream->dialled && !stream->expected.value.empty() && stream->expected != *id) {
    forget_dial(stream);
    return Error{ErrorCode::invalid_argument,
                 fmt::format("at {} answers node {}, not {}", name_of(stream->address), id->value,
                             stream->expected.value)};
  }
  stream->peer = *id;
  stream->incarnation = read_u64(hello);
  Peer& peer = peer_of(*id);
  if (stream->dialled && stream->expected.value.empty()) {  // now the address has a name
    unnamed_.erase(name_of(stream->address));
    peer.wanted = true;
    add_address(peer.dialling.addresses, stream->address);
  }
  return {};
}

// We decide, and `stream` is ready to be the link.
void LinkTable::consider(Peer& peer, const StreamPtr& stream) {
  const bool busy = peer.link && peer.link->incarnation == stream->incarnation;
  if (!busy) return choose(peer, stream);
  // The peer has lost the link before we noticed, or it dialled before it heard of our choice. In
  // the second case it will close this stream itself.
  if (peer.pending) peer.pending->close(grpc::Status(grpc::StatusCode::CANCELLED, "superseded"));
  peer.pending = stream;
  stream->deadline_us = now_us() + kPendingUs;
}

void LinkTable::choose(Peer& peer, const StreamPtr& stream) {
  if (peer.link) drop_link(peer, unavailable("replaced by a newer connection"));
  if (decides(peer.id)) stream->write(buffer_of(chosen_frame()), {4096, 16});
  peer.link = stream;
  stream->state = LinkStream::State::up;
  stream->deadline_us = 0;
  for (StreamPtr* other : {&peer.dialling.stream, &peer.pending}) {
    if (*other && *other != stream) (*other)->close(grpc::Status(grpc::StatusCode::CANCELLED, ""));
    other->reset();
  }
  peer.up_since_us = now_us();
  peer.dialling.next_address = 0;
  peer.events.push_back({Event::Kind::up, {}, {}, nullptr});
}

void LinkTable::drop_link(Peer& peer, const Error& why) {
  peer.link->state = LinkStream::State::closed;
  peer.link->close(grpc::Status(grpc::StatusCode::CANCELLED, why.message));
  peer.link.reset();
  peer.events.push_back({Event::Kind::down, why, {}, nullptr});
}

// An address that leads nowhere useful is not dialled again.
void LinkTable::forget_dial(const StreamPtr& stream) {
  unnamed_.erase(name_of(stream->address));
  if (const auto found = peers_.find(stream->expected); found != peers_.end())
    std::erase_if(found->second.dialling.addresses,
                  [&](const PeerAddress& one) { return same_place(one, stream->address); });
}

void LinkTable::on_closed(const StreamPtr& stream, const grpc::Status& status) {
  std::unique_lock lock(mutex_);
  const bool was_link = stream->state == LinkStream::State::up;
  stream->state = LinkStream::State::closed;
  if (stream->dialled) {
    const auto unnamed = unnamed_.find(name_of(stream->address));
    if (unnamed != unnamed_.end() && unnamed->second.stream == stream) dial_failed(unnamed->second);
    const auto named = peers_.find(stream->expected);
    if (named != peers_.end() && named->second.dialling.stream == stream)
      dial_failed(named->second.dialling);
    const std::optional<Error> why = explain(status, stream->address);
    if (!was_link && why) refused(stream->address, *why, lock);
  }
  if (!stream->peer.value.empty()) {
    Peer& peer = peer_of(stream->peer);
    if (peer.pending == stream) peer.pending.reset();
    if (peer.link == stream) {
      drop_link(peer, unavailable("the link went down: " + status.error_message()));
      if (now_us() - peer.up_since_us > kSteadyUs) peer.dialling.backoff_ms = 0;
      back_off(peer.dialling);
      if (peer.pending) peer.pending->deadline_us = now_us() + kPendingAfterDownUs;
    }
    drain(lock, peer);
  }
  streams_.erase(stream);
  quiet_.notify_all();
  woken_ = true;
  wake_.notify_one();
}

void LinkTable::dial_failed(Dialling& dialling) {
  dialling.stream.reset();
  if (++dialling.next_address < dialling.addresses.size()) {
    dialling.next_dial_us = now_us();
    return;
  }
  dialling.next_address = 0;
  back_off(dialling);
}

void LinkTable::back_off(Dialling& dialling) const {
  dialling.backoff_ms =
      std::clamp(dialling.backoff_ms * 2, options_.backoff_min_ms, options_.backoff_max_ms);
  dialling.next_dial_us = now_us() + dialling.backoff_ms * 1000;
}

// --- telling the handler

// In order, one call at a time per peer, without holding the lock. Whoever finds nobody delivering
// delivers everything.
void LinkTable::drain(std::unique_lock<std::mutex>& lock, Peer& peer) {
  if (peer.draining) return;
  peer.draining = true;
  ++delivering_;
  const NodeId id = peer.id;
  while (!peer.events.empty()) {
    Event event = std::move(peer.events.front());
    peer.events.pop_front();
    lock.unlock();
    deliver(id, event);
    lock.lock();
  }
  peer.draining = false;
  --delivering_;
  quiet_.notify_all();
}

void LinkTable::deliver(const NodeId& peer, Event& event) {
  switch (event.kind) {
    case Event::Kind::up:
      handler_->on_link_up(peer);
      break;
    case Event::Kind::down:
      handler_->on_link_down(peer, event.why);
      break;
    case Event::Kind::message:
      handler_->on_message(peer, std::move(event.message));
      event.stream->read_next();
      break;
  }
}

void LinkTable::refused(const PeerAddress& address, const Error& why,
                        std::unique_lock<std::mutex>& lock) {
  if (stopping_ || !worth_telling(name_of(address) + why.message)) return;
  ++delivering_;
  lock.unlock();
  handler_->on_refused(address, why);
  lock.lock();
  --delivering_;
  quiet_.notify_all();
}

// --- the timer thread: dials, deadlines

void LinkTable::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const int64_t next_us = tick(lock);
    const int64_t wait_us = std::clamp<int64_t>(next_us - now_us(), 0, 60'000'000);
    wake_.wait_for(lock, std::chrono::microseconds(wait_us), [&] { return woken_ || stopping_; });
    woken_ = false;
  }
}

int64_t LinkTable::tick(std::unique_lock<std::mutex>& lock) {
  const int64_t now = now_us();
  int64_t next = now + 60'000'000;
  for (const StreamPtr& stream : std::set<StreamPtr>(streams_)) {
    if (stream->deadline_us == 0) continue;
    if (stream->deadline_us > now) {
      next = std::min(next, stream->deadline_us);
      continue;
    }
    stream->deadline_us = 0;
    const auto peer = peers_.find(stream->peer);
    if (peer != peers_.end() && peer->second.pending == stream) {
      choose(peer->second, stream);  // our link is dead, we only do not know it yet
    } else {
      stream->close(grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "no answer in time"));
    }
  }
  std::erase_if(unnamed_, [&](const auto& one) {
    return !one.second.stream && now - one.second.asked_us > kForgetUnnamedUs;
  });
  for (auto& [address, dialling] : unnamed_) next = std::min(next, dial_if_due(dialling, {}, now));
  for (auto& [id, peer] : peers_) next = std::min(next, tick_peer(peer, now));
  for (auto& [id, peer] : peers_)
    if (!peer.events.empty()) drain(lock, peer);
  return next;
}

int64_t LinkTable::tick_peer(Peer& peer, int64_t now) {
  if (!peer.wanted || peer.link || revoked_.contains(peer.id)) return INT64_MAX;
  return dial_if_due(peer.dialling, peer.id, now);
}

int64_t LinkTable::dial_if_due(Dialling& dialling, const NodeId& expected, int64_t now) {
  if (dialling.stream || dialling.addresses.empty()) return INT64_MAX;
  if (dialling.next_dial_us > now) return dialling.next_dial_us;
  dialling.next_address %= dialling.addresses.size();
  const StreamPtr stream = dial_(dialling.addresses[dialling.next_address], expected);
  dialling.stream = stream;
  streams_.insert(stream);
  // With other addresses left, one that does not answer is not worth the whole wait.
  const bool last = dialling.next_address + 1 == dialling.addresses.size();
  stream->deadline_us = now + options_.handshake_timeout_ms * (last ? 1000 : 400);
  stream->write(buffer_of(hello_frame(incarnation_)), {4096, 16});
  stream->read_next();
  return stream->deadline_us;
}

}  // namespace exo
