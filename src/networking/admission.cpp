#include "networking/admission.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "base/world.h"
#include "networking/interfaces.h"
#include "networking/text_rules.h"
#include "networking/tls_connection.h"

namespace exo {
namespace {

// Joiner: "EXOJ" version | HMAC(secret, exporter) 32 | name length u8 | name
// Member: "EXOJ" version | status u8 | length u16 BE | the cluster's key, PEM
constexpr std::string_view kMagic("EXOJ\x01", 5);
constexpr int64_t kExchangeUs = 5'000'000;  // one joiner at a time: a slow one must not block long
constexpr int kWrongCodePauseMs = 250;
constexpr size_t kMaxKeyBytes = 8 << 10;
enum Status : char { kWelcome = 0, kWrongCode = 1 };

std::string fingerprint_of(const crypto::Digest& key_hash) {
  return std::string(crypto::view(key_hash).substr(0, 16));
}

std::string proof(const std::string& secret, const std::string& exporter) {
  const crypto::Digest mac = crypto::hmac_sha256(secret, "exo join v1" + exporter);
  return std::string(crypto::view(mac));
}

// Where a joiner should try: real networks before container bridges; loopback for a machine alone.
std::vector<std::string> invite_addresses(const std::string& host) {
  std::vector<std::string> out;
  for (const PeerAddress& one : reachable_addresses(host, 0)) {
    const bool last_resort = one.interface_type == "loopback" || one.interface_type == "other";
    if (!last_resort || out.empty()) out.push_back(one.host);
  }
  if (out.size() > 4) out.resize(4);
  return out;
}

struct Descriptor {
  int fd = -1;
  ~Descriptor() { reset(); }
  void reset(int next = -1) {
    if (fd >= 0) ::close(fd);
    fd = next;
  }
};

}  // namespace

// --- the member's side

class Inviter::Impl {
 public:
  explicit Impl(InviterOptions options) : options_(std::move(options)) {}
  ~Impl() { withdraw(); }

  Result<Invite> invite() {
    const std::lock_guard lock(mutex_);
    end();
    const Identity& identity = *options_.identity;
    const auto certificate = TRY(crypto::certificate_from_pem(identity.cluster_certificate_pem()));
    InviteCode code;
    code.secret.resize(16);
    real_world().random_bytes(std::as_writable_bytes(std::span(code.secret)));
    code.fingerprint =
        fingerprint_of(TRY(crypto::public_key_hash(X509_get0_pubkey(certificate.get()))));
    code.addresses = invite_addresses(options_.host);
    if (code.addresses.empty())
      return unavailable("this device has no IPv4 address another one could reach");
    context_ = TRY(tls_server_context(identity.node_certificate_pem(),
                                      identity.cluster_certificate_pem(), identity.node_key_pem()));
    code.port = TRY(listen());
    int ends[2];
    if (::pipe(ends) != 0) return unavailable("cannot make a pipe for the invitation");
    for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
    wake_read_.reset(ends[0]);
    wake_write_.reset(ends[1]);
    secret_ = code.secret;
    const int64_t until_us = real_world().now_us() + int64_t{options_.lifetime_s} * 1'000'000;
    thread_ = std::thread([this, until_us] { run(until_us); });
    return Invite{encode_invite(code),
                  real_world().wall_time_ms() + int64_t{options_.lifetime_s} * 1000};
  }

  void withdraw() {
    const std::lock_guard lock(mutex_);
    end();
  }

 private:
  void end() {
    wake_write_.reset();  // the thread sees the end of the pipe
    if (thread_.joinable()) thread_.join();
    listener_.reset();
    wake_read_.reset();
    OPENSSL_cleanse(secret_.data(), secret_.size());
    secret_.clear();
  }

  Result<uint16_t> listen() {
    listener_.reset(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    ::inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr);
    socklen_t size = sizeof address;
    const int on = 1;
    ::setsockopt(listener_.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener_.fd < 0 ||
        ::bind(listener_.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_.fd, 8) != 0 ||
        ::getsockname(listener_.fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      return unavailable(fmt::format("cannot listen for a joining device on {}:{}: {}",
                                     options_.host, options_.port, std::strerror(errno)));
    ::fcntl(listener_.fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(listener_.fd, F_SETFL, O_NONBLOCK);
    return static_cast<uint16_t>(ntohs(address.sin_port));
  }

  void run(int64_t until_us) {
    while (wait(listener_.fd, until_us)) {
      const int socket = ::accept(listener_.fd, nullptr, nullptr);
      if (socket < 0) continue;
      TlsConnection connection(socket, real_world().now_us() + kExchangeUs);
      const Result<std::string> joined = admit(connection);
      if (joined.ok()) {
        log::info("a device joined the cluster: {}", *joined);
        listener_.reset();  // the code is used up
        if (options_.on_joined) options_.on_joined(*joined);
        return;
      }
      log::warn("a device could not join: {}", joined.error().message);
      if (joined.error().code == ErrorCode::permission_denied &&
          !wait(-1, real_world().now_us() + kWrongCodePauseMs * 1000) && stopped_)
        return;
    }
    listener_.reset();
  }

  // True when there is something to accept; false at the deadline or when withdrawn.
  bool wait(int fd, int64_t until_us) {
    while (true) {
      const int64_t left_ms = (until_us - real_world().now_us()) / 1000;
      if (left_ms <= 0) return false;
      pollfd watched[2] = {{wake_read_.fd, POLLIN, 0}, {fd, POLLIN, 0}};
      ::poll(watched, 2, static_cast<int>(std::min<int64_t>(left_ms, 60'000)));
      stopped_ = watched[0].revents != 0;
      if (stopped_) return false;
      if (watched[1].revents != 0) return true;
    }
  }

  Result<std::string> admit(TlsConnection& connection) {
    if (auto shaken = connection.handshake(context_.get(), true); !shaken.ok())
      return shaken.error();
    const std::string hello = TRY(connection.read(kMagic.size() + 32 + 1));
    if (hello.compare(0, kMagic.size(), kMagic) != 0)
      return corrupt("it does not speak exo's admission protocol");
    const std::string name = TRY(connection.read(static_cast<uint8_t>(hello.back())));
    const std::string expected = proof(secret_, TRY(connection.exporter()));
    if (!crypto::equal(expected, std::string_view(hello).substr(kMagic.size(), 32))) {
      (void)connection
          .write(std::string(kMagic) + static_cast<char>(kWrongCode) + std::string(2, '\0'))
          .ok();
      return permission_denied("it gave a wrong code");
    }
    const std::string& key = options_.identity->cluster_key_pem();
    std::string answer = std::string(kMagic) + static_cast<char>(kWelcome);
    answer.push_back(static_cast<char>(key.size() >> 8));
    answer.push_back(static_cast<char>(key.size()));
    answer += key;
    // From here on the code counts as used, whatever happens to the answer.
    if (auto sent = connection.write(answer); !sent.ok())
      log::warn("the joining device may not have heard the answer: {}", sent.error().message);
    OPENSSL_cleanse(answer.data(), answer.size());
    return clean_text(name);
  }

  const InviterOptions options_;
  std::mutex mutex_;
  TlsContext context_;
  Descriptor listener_, wake_read_, wake_write_;
  std::string secret_;
  bool stopped_ = false;  // of the thread alone
  std::thread thread_;
};

Inviter::Inviter(InviterOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Inviter::~Inviter() = default;
Result<Invite> Inviter::invite() { return impl_->invite(); }
void Inviter::withdraw() { impl_->withdraw(); }

// --- the new device's side

namespace {

Result<std::string> fetch_key(const InviteCode& code, const std::string& address,
                              const JoinOptions& options) {
  const int64_t deadline_us = real_world().now_us() + int64_t{options.timeout_ms} * 1000;
  TlsConnection connection(TRY(tcp_connect(address, code.port, deadline_us)), deadline_us);
  const TlsContext context = TRY(tls_client_context());
  if (auto shaken = connection.handshake(context.get(), false); !shaken.ok()) return shaken.error();
  if (!crypto::equal(fingerprint_of(TRY(connection.issuer_key_hash())), code.fingerprint))
    return permission_denied(
        fmt::format("the device at {}:{} is not the one that made this code", address, code.port));
  const std::string name = options.name.substr(0, 255);
  std::string hello = std::string(kMagic) + proof(code.secret, TRY(connection.exporter()));
  hello.push_back(static_cast<char>(name.size()));
  if (auto sent = connection.write(hello + name); !sent.ok()) return sent.error();
  const std::string answer = TRY(connection.read(kMagic.size() + 3));
  if (answer.compare(0, kMagic.size(), kMagic) != 0)
    return corrupt("the other device does not speak exo's admission protocol");
  if (answer[kMagic.size()] != kWelcome)
    return permission_denied("the code is not valid any more: run `exo invite` there again");
  const size_t size = static_cast<size_t>(static_cast<uint8_t>(answer[kMagic.size() + 1])) << 8 |
                      static_cast<uint8_t>(answer[kMagic.size() + 2]);
  if (size > kMaxKeyBytes) return corrupt("the other device answers with too much");
  return connection.read(size);
}

// The key must be the one the code's fingerprint promises.
Result<void> check_key(const std::string& pem, const InviteCode& code) {
  const crypto::Key key = TRY(crypto::key_from_pem(pem));
  if (!crypto::equal(fingerprint_of(TRY(crypto::public_key_hash(key.get()))), code.fingerprint))
    return corrupt("the key that was received is not that of the cluster in the code");
  return {};
}

}  // namespace

Result<Joined> join(const JoinOptions& options) {
  const InviteCode code = TRY(parse_invite(options.code));
  // The cluster's id is the start of its fingerprint: a code need not be spent to find out that
  // it cannot be used here.
  Joined out;
  out.cluster_id = crypto::hex(std::as_bytes(std::span(code.fingerprint)).first(8));
  const Result<std::string> stored = read_file(options.config_dir / "cluster.key", 64 << 10);
  if (stored.ok()) {
    const Result<std::string> own = cluster_id_of_key(*stored);
    out.was_member = own.ok() && *own == out.cluster_id;
    if (out.was_member) return out;
    if (!options.replace)
      return Error{ErrorCode::already_exists,
                   fmt::format("this device already belongs to cluster {}; `exo join --replace "
                               "CODE` moves it to cluster {} (the old key is kept beside)",
                               own.ok() ? *own : "with a damaged key", out.cluster_id)};
  }
  Error last;
  for (const std::string& address : code.addresses) {
    Result<std::string> key = fetch_key(code, address, options);
    if (key.ok()) {
      if (auto good = check_key(*key, code); !good.ok()) return good.error();
      auto kept = store_cluster_key(options.config_dir, *key, {.replace = options.replace});
      if (!kept.ok()) return kept.error();
      return out;
    }
    last = key.error();
    if (last.code == ErrorCode::permission_denied) return last;
  }
  return Error{last.code, last.message +
                              ". A code works once and for 15 minutes: is `exo` running there, and "
                              "can this device reach it? `exo invite` there makes a new code"};
}

}  // namespace exo
