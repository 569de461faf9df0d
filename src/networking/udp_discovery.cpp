#include "networking/udp_discovery.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/world.h"
#include "networking/announcement.h"
#include "networking/interfaces.h"

namespace exo {
namespace {

constexpr const char* kGroup = "239.255.52.41";  // administratively scoped, ours by choice
constexpr int64_t kIntervalUs = 1'000'000;
constexpr int64_t kFirstIntervalUs = 200'000;  // the first three come quickly
constexpr int64_t kListInterfacesUs = 5'000'000;
constexpr int64_t kForeignAgainUs = 10'000'000;
constexpr size_t kMaxForeign = 256;
constexpr int kDatagramsPerSecond = 2000;
constexpr int kDatagramsPerSourcePerSecond = 200;
constexpr size_t kMaxSources = 1024;

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  template <class T>
  bool set(int level, int option, const T& value) const {
    return ::setsockopt(fd_, level, option, &value, sizeof value) == 0;
  }

 private:
  int fd_ = -1;
};

Socket udp_socket() {
  Socket socket(::socket(AF_INET, SOCK_DGRAM, 0));
  if (socket) {
    ::fcntl(socket.fd(), F_SETFD, FD_CLOEXEC);
    ::fcntl(socket.fd(), F_SETFL, O_NONBLOCK);
  }
  return socket;
}

sockaddr_in ipv4(const std::string& address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &out.sin_addr);
  return out;
}

bool allowed(const std::vector<std::string>& filter, const std::string& value) {
  return filter.empty() || std::find(filter.begin(), filter.end(), value) != filter.end();
}

struct Sender {  // one per interface
  NetworkInterface interface;
  Socket socket;
};

}  // namespace

class UdpDiscovery::Impl {
 public:
  explicit Impl(UdpDiscoveryOptions options)
      : options_(std::move(options)),
        guard_(int64_t{options_.discovery_timeout_s} * 1'000'000),
        incarnation_(static_cast<uint64_t>(real_world().wall_time_ms())) {}
  ~Impl() { stop(); }

  Result<void> start(DiscoveryHandler handler) {
    handler_ = std::move(handler);
    if (auto bound = bind_receiver(); !bound.ok()) return bound;
    int ends[2];
    if (::pipe(ends) != 0) return unavailable("cannot make a pipe for discovery");
    wake_read_ = Socket(ends[0]);
    wake_write_ = Socket(ends[1]);
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    refresh_interfaces();
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void stop() {
    if (!thread_.joinable()) return;
    wake_write_ = Socket();  // the reader sees the end of the pipe
    thread_.join();
    for (int i = 0; i < 2; ++i) announce(/*leaving=*/true);
    senders_.clear();
    receiver_ = Socket();
  }

 private:
  Result<void> bind_receiver() {
    receiver_ = udp_socket();
    if (!receiver_) return unavailable("cannot open a UDP socket for discovery");
    // Several nodes of one host listen on the same port; broadcast and multicast reach them all.
    receiver_.set(SOL_SOCKET, SO_REUSEADDR, 1);
    receiver_.set(SOL_SOCKET, SO_REUSEPORT, 1);
    const sockaddr_in any = ipv4("0.0.0.0", options_.listen_port);
    if (::bind(receiver_.fd(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0)
      return unavailable(fmt::format(
          "cannot listen for other devices on UDP port {}: {}. Choose another with --listen-port "
          "(and --broadcast-port), or use --discovery-module manual",
          options_.listen_port, std::strerror(errno)));
    return {};
  }

  void refresh_interfaces() {
    next_list_us_ = real_world().now_us() + kListInterfacesUs;
    const Result<std::vector<NetworkInterface>> found = list_interfaces();
    if (!found.ok()) return log::debug("discovery: {}", found.error().message);
    own_addresses_.clear();
    std::vector<Sender> senders;
    for (const NetworkInterface& interface : *found) {
      own_addresses_.insert(interface.address);
      const bool loopback = interface.type == "loopback";
      if (options_.loopback_only && !loopback) continue;
      if (!loopback && !allowed(options_.interface_type_filter, interface.type)) continue;
      const auto same = std::find_if(senders_.begin(), senders_.end(), [&](const Sender& one) {
        return one.socket && one.interface.address == interface.address;
      });
      if (same != senders_.end()) {
        senders.push_back(std::move(*same));
      } else if (Socket socket = open_sender(interface); socket) {
        senders.push_back({interface, std::move(socket)});
      }
    }
    senders_ = std::move(senders);
  }

  Socket open_sender(const NetworkInterface& interface) {
    const sockaddr_in own = ipv4(interface.address, 0);
    ip_mreq membership{};
    ::inet_pton(AF_INET, kGroup, &membership.imr_multiaddr);
    membership.imr_interface = own.sin_addr;
    receiver_.set(IPPROTO_IP, IP_ADD_MEMBERSHIP, membership);  // already a member: no harm
    Socket socket = udp_socket();
    if (!socket || ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
      return {};
    socket.set(SOL_SOCKET, SO_BROADCAST, 1);
    socket.set(IPPROTO_IP, IP_MULTICAST_IF, own.sin_addr);
    socket.set(IPPROTO_IP, IP_MULTICAST_TTL, static_cast<unsigned char>(1));
    socket.set(IPPROTO_IP, IP_MULTICAST_LOOP, static_cast<unsigned char>(1));
    return socket;
  }

  void announce(bool leaving) {
    for (const Sender& sender : senders_) {
      Announcement announcement;
      announcement.cluster_id = options_.identity->cluster_id();
      announcement.node = options_.identity->node_id();
      announcement.name = options_.name;
      announcement.node_port = options_.node_port;
      announcement.api_port = options_.api_port;
      announcement.interface_type = sender.interface.type;
      announcement.incarnation = incarnation_;
      announcement.sequence = ++sequence_;
      announcement.leaving = leaving;
      announcement.nonce = real_world().random_u64();
      const std::string bytes =
          encode_announcement(announcement, options_.identity->announcement_key());
      for (const std::string& to : targets(sender.interface)) {
        const sockaddr_in address = ipv4(to, options_.broadcast_port);
        // A network that is gone, or a full buffer: the next one follows in a second.
        (void)!::sendto(sender.socket.fd(), bytes.data(), bytes.size(), 0,
                        reinterpret_cast<const sockaddr*>(&address), sizeof address);
      }
    }
  }

  static std::vector<std::string> targets(const NetworkInterface& interface) {
    if (interface.type == "loopback") return {kGroup, "127.255.255.255"};
    std::vector<std::string> out = {kGroup, "255.255.255.255"};
    if (!interface.broadcast.empty()) out.push_back(interface.broadcast);
    return out;
  }

  void run() {
    int announced = 0;
    int64_t next_announce_us = real_world().now_us();
    while (true) {
      const int64_t now = real_world().now_us();
      if (now >= next_announce_us) {
        announce(/*leaving=*/false);
        next_announce_us = now + (++announced < 3 ? kFirstIntervalUs : kIntervalUs);
        guard_.forget_silent(now);
      }
      if (now >= next_list_us_) refresh_interfaces();
      const bool exhausted = datagrams_left(now) <= 0;
      pollfd watched[2] = {{wake_read_.fd(), POLLIN, 0}, {receiver_.fd(), POLLIN, 0}};
      const int64_t until =
          exhausted ? std::min(next_announce_us, budget_until_us_) : next_announce_us;
      const int64_t wait_ms = std::clamp<int64_t>((until - now) / 1000 + 1, 1, 1000);
      ::poll(watched, exhausted ? 1 : 2, static_cast<int>(wait_ms));
      if (watched[0].revents != 0) return;
      if (!exhausted && watched[1].revents != 0) receive(now);
    }
  }

  int datagrams_left(int64_t now_us) {
    if (now_us >= budget_until_us_) {
      budget_until_us_ = now_us + 1'000'000;
      budget_ = kDatagramsPerSecond;
      from_source_.clear();
    }
    return budget_;
  }

  void receive(int64_t now_us) {
    std::array<std::byte, kMaxAnnouncementBytes + 1> buffer;
    while (budget_ > 0) {
      sockaddr_in from{};
      socklen_t from_size = sizeof from;
      const ssize_t size = ::recvfrom(receiver_.fd(), buffer.data(), buffer.size(), 0,
                                      reinterpret_cast<sockaddr*>(&from), &from_size);
      if (size < 0) return;
      --budget_;
      const uint32_t source = from.sin_addr.s_addr;
      if (from_source_.size() >= kMaxSources && !from_source_.contains(source)) continue;
      if (++from_source_[source] > kDatagramsPerSourcePerSecond) continue;
      char host[INET_ADDRSTRLEN] = {};
      ::inet_ntop(AF_INET, &from.sin_addr, host, sizeof host);
      heard({buffer.data(), static_cast<size_t>(size)}, host, now_us);
    }
  }

  void heard(std::span<const std::byte> datagram, const std::string& host, int64_t now_us) {
    const Identity& identity = *options_.identity;
    const Result<ParsedAnnouncement> parsed =
        parse_announcement(datagram, identity.cluster_id(), identity.announcement_key());
    if (!parsed.ok()) return log::trace("discovery: {} from {}", parsed.error().message, host);
    const Announcement& said = parsed->announcement;
    if (parsed->foreign) return heard_foreign(said, host, now_us);
    if (said.node == identity.node_id()) return;
    if (!allowed(options_.node_id_filter, said.node.value) &&
        !allowed(options_.node_id_filter, said.name))
      return;
    const bool same_host = own_addresses_.contains(host) || host.rfind("127.", 0) == 0;
    if (!same_host && !allowed(options_.interface_type_filter, said.interface_type)) return;
    if (!guard_.fresh(said, now_us)) return;
    PeerSighting sighting{
        said.node, said.name, {host, said.node_port, said.interface_type}, said.leaving};
    if (same_host) sighting.address.interface_type = "loopback";
    if (handler_.on_peer) handler_.on_peer(sighting);
  }

  void heard_foreign(const Announcement& said, const std::string& host, int64_t now_us) {
    std::erase_if(foreign_us_,
                  [&](const auto& one) { return now_us - one.second > kForeignAgainUs; });
    if (foreign_us_.size() >= kMaxForeign) return;
    if (!foreign_us_.emplace(said.cluster_id + said.node.value, now_us).second) return;
    if (handler_.on_foreign) handler_.on_foreign({said.cluster_id, said.name, host});
  }

  const UdpDiscoveryOptions options_;
  DiscoveryHandler handler_;
  Socket receiver_, wake_read_, wake_write_;
  std::vector<Sender> senders_;
  std::set<std::string> own_addresses_;
  ReplayGuard guard_;
  const uint64_t incarnation_;
  uint64_t sequence_ = 0;
  int64_t next_list_us_ = 0;
  int64_t budget_until_us_ = 0;
  int budget_ = 0;
  std::map<uint32_t, int> from_source_;        // datagrams in this second, by IPv4 address
  std::map<std::string, int64_t> foreign_us_;  // told of, by cluster and node
  std::thread thread_;
};

UdpDiscovery::UdpDiscovery(UdpDiscoveryOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
UdpDiscovery::~UdpDiscovery() = default;
Result<void> UdpDiscovery::start(DiscoveryHandler handler) {
  return impl_->start(std::move(handler));
}
void UdpDiscovery::stop() { impl_->stop(); }

}  // namespace exo
