#include "networking/manual_discovery.h"

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "base/world.h"
#include "core/json.h"
#include "networking/interfaces.h"
#include "networking/text_rules.h"

namespace exo {
namespace {

constexpr size_t kFileLimit = 1 << 20;
constexpr size_t kMaxPeers = 1024;
constexpr int64_t kRepeatUs = 5'000'000;  // sightings are refreshed this often

Result<PeerSighting> parse_peer(const std::string& name, const Json& json) {
  const std::string where = fmt::format("peer \"{}\"", clean_text(name));
  if (!json.is_object()) return invalid_argument(where + " is not an object");
  const JsonObject& object = json.as_object();
  const std::optional<std::string> host = TRY(get_string(object, "address"));
  const std::optional<int64_t> port = TRY(get_int(object, "port"));
  const std::optional<std::string> id = TRY(get_string(object, "node_id"));
  if (!host || !is_host(*host))
    return invalid_argument(where + " needs an \"address\": an IP address or a host name");
  if (!port || *port < 1 || *port > 65535)
    return invalid_argument(where + " needs a \"port\" between 1 and 65535");
  if (id && !is_node_id(*id))
    return invalid_argument(where + ": \"node_id\" is not 32 hex digits (see `exo nodes`)");
  PeerSighting out;
  out.id = {id ? *id : is_node_id(name) ? name : ""};
  out.name = clean_text(name.substr(0, 256));
  out.address = {*host, static_cast<uint16_t>(*port), "other"};
  return out;
}

bool same(const PeerSighting& a, const PeerSighting& b) {
  return a.id == b.id && a.name == b.name && a.address.host == b.address.host &&
         a.address.port == b.address.port;
}

}  // namespace

Result<std::vector<PeerSighting>> parse_peers(std::string_view text) {
  const Json json = TRY(parse_json(text));
  if (!json.is_object()) return invalid_argument("expected an object with \"peers\"");
  const JsonObject* peers = TRY(get_object(json.as_object(), "peers"));
  if (peers == nullptr) return invalid_argument("expected an object with \"peers\"");
  if (peers->size() > kMaxPeers)
    return invalid_argument(
        fmt::format("{} peers; at most {} are allowed", peers->size(), kMaxPeers));
  std::vector<PeerSighting> out;
  for (const auto& entry : *peers)
    out.push_back(TRY(parse_peer(std::string(entry.key()), entry.value())));
  return out;
}

class ManualDiscovery::Impl {
 public:
  explicit Impl(ManualDiscoveryOptions options) : options_(std::move(options)) {}
  ~Impl() { stop(); }

  Result<void> start(DiscoveryHandler handler) {
    handler_ = std::move(handler);
    text_ = TRY(read_file(options_.path, kFileLimit));
    Result<std::vector<PeerSighting>> peers = parse_peers(text_);
    if (!peers.ok()) return peers.error().in(options_.path.string());
    peers_ = std::move(peers).value();
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    tell_all(real_world().now_us());
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(options_.check_interval_ms),
                           [&] { return stopping_; })) {
      lock.unlock();
      const int64_t now = real_world().now_us();
      reload();
      if (now >= next_tell_us_) tell_all(now);
      lock.lock();
    }
  }

  // The whole text is compared, not its time: editors write twice within a clock's tick.
  void reload() {
    Result<std::string> text = read_file(options_.path, kFileLimit);
    if (!text.ok()) return problem(text.error());
    if (*text == text_) return;
    text_ = std::move(text).value();
    Result<std::vector<PeerSighting>> peers = parse_peers(text_);
    if (!peers.ok()) return problem(peers.error().in(options_.path.string()));
    last_problem_.clear();
    for (PeerSighting gone : peers_) {
      const bool stays = std::any_of(peers->begin(), peers->end(),
                                     [&](const PeerSighting& one) { return same(one, gone); });
      gone.leaving = true;
      if (!stays) tell(gone);
    }
    peers_ = std::move(peers).value();
    next_tell_us_ = 0;
  }

  void problem(const Error& why) {
    if (why.message == last_problem_) return;
    last_problem_ = why.message;
    if (handler_.on_problem)
      handler_.on_problem(why.message + " (the peers read before stay in use)");
  }

  void tell_all(int64_t now_us) {
    next_tell_us_ = now_us + kRepeatUs;
    for (const PeerSighting& peer : peers_) tell(peer);
  }

  void tell(const PeerSighting& peer) {
    if (!is_self(peer) && handler_.on_peer) handler_.on_peer(peer);
  }

  bool is_self(const PeerSighting& peer) const {
    if (!peer.id.value.empty()) return peer.id == options_.self;
    if (!options_.self_name.empty() && peer.name == options_.self_name) return true;
    if (peer.address.port != options_.node_port) return false;
    if (peer.address.host == "localhost" || peer.address.host.rfind("127.", 0) == 0) return true;
    const auto interfaces = list_interfaces();
    return interfaces.ok() &&
           std::any_of(interfaces->begin(), interfaces->end(), [&](const NetworkInterface& one) {
             return one.address == peer.address.host;
           });
  }

  const ManualDiscoveryOptions options_;
  DiscoveryHandler handler_;
  std::string text_;
  std::vector<PeerSighting> peers_;
  std::string last_problem_;
  int64_t next_tell_us_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

ManualDiscovery::ManualDiscovery(ManualDiscoveryOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
ManualDiscovery::~ManualDiscovery() = default;
Result<void> ManualDiscovery::start(DiscoveryHandler handler) {
  return impl_->start(std::move(handler));
}
void ManualDiscovery::stop() { impl_->stop(); }

}  // namespace exo
