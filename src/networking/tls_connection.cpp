#include "networking/tls_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/world.h"

namespace exo {
namespace {

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;
#endif

int left_ms(int64_t deadline_us) {
  const int64_t left = (deadline_us - real_world().now_us()) / 1000;
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

Error too_slow() { return {ErrorCode::deadline_exceeded, "the other side did not answer in time"}; }

void prepare(int socket) {
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
#ifdef SO_NOSIGPIPE
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

}  // namespace

Result<TlsContext> tls_server_context(const std::string& certificate_pem,
                                      const std::string& issuer_pem, const std::string& key_pem) {
  const crypto::Certificate certificate = TRY(crypto::certificate_from_pem(certificate_pem));
  crypto::Certificate issuer = TRY(crypto::certificate_from_pem(issuer_pem));
  const crypto::Key key = TRY(crypto::key_from_pem(key_pem));
  TlsContext context(SSL_CTX_new(TLS_server_method()));
  const bool built = context && SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
                     SSL_CTX_use_certificate(context.get(), certificate.get()) == 1 &&
                     SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1 &&
                     SSL_CTX_add_extra_chain_cert(context.get(), issuer.get()) == 1;
  if (!built) return crypto::openssl_error("cannot prepare TLS");
  (void)issuer.release();  // now the context's
  SSL_CTX_set_num_tickets(context.get(), 0);
  return context;
}

Result<TlsContext> tls_client_context() {
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1)
    return crypto::openssl_error("cannot prepare TLS");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  return context;
}

TlsConnection::~TlsConnection() {
  if (socket_ >= 0) ::close(socket_);
}

Result<void> TlsConnection::handshake(SSL_CTX* context, bool server) {
  prepare(socket_);
  ssl_.reset(SSL_new(context));
  if (!ssl_) return crypto::openssl_error("cannot start TLS");
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  if (server)
    SSL_set_accept_state(ssl_.get());
  else
    SSL_set_connect_state(ssl_.get());
  return drive("the TLS handshake", [&] { return SSL_do_handshake(ssl_.get()); });
}

Result<void> TlsConnection::write(std::string_view bytes) {
  return drive("sending",
               [&] { return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())); });
}

Result<std::string> TlsConnection::read(size_t size) {
  std::string out(size, '\0');
  size_t filled = 0;
  while (filled < size) {
    int got = 0;
    auto read = drive("receiving", [&] {
      return got = SSL_read(ssl_.get(), out.data() + filled, static_cast<int>(size - filled));
    });
    if (!read.ok()) return read.error();
    filled += static_cast<size_t>(got);
  }
  return out;
}

// Runs one OpenSSL call to its end, moving bytes between its buffers and the socket.
template <class Step>
Result<void> TlsConnection::drive(const char* what, Step step) {
  while (true) {
    ERR_clear_error();
    const int done = step();
    const int state = done > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), done);
    if (auto flushed = flush(); !flushed.ok()) return flushed;
    if (state == SSL_ERROR_NONE) return {};
    if (state == SSL_ERROR_ZERO_RETURN) return unavailable("the other side closed the connection");
    if (state != SSL_ERROR_WANT_READ) return crypto::openssl_error(what);
    if (auto filled = fill(); !filled.ok()) return filled;
  }
}

Result<void> TlsConnection::flush() {
  char* data = nullptr;
  BIO* out = SSL_get_wbio(ssl_.get());
  size_t left = static_cast<size_t>(std::max(0L, BIO_get_mem_data(out, &data)));
  while (left > 0) {
    const ssize_t sent = ::send(socket_, data, left, kSendFlags);
    if (sent > 0) {
      data += sent;
      left -= static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
      if (auto ready = wait(POLLOUT); !ready.ok()) return ready;
    } else {
      return unavailable(std::string("the connection broke: ") + std::strerror(errno));
    }
  }
  (void)BIO_reset(out);
  return {};
}

Result<void> TlsConnection::fill() {
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t got = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (got == 0) return unavailable("the other side closed the connection");
    if (got > 0) {
      BIO_write(SSL_get_rbio(ssl_.get()), buffer.data(), static_cast<int>(got));
      return {};
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
      return unavailable(std::string("the connection broke: ") + std::strerror(errno));
    if (auto ready = wait(POLLIN); !ready.ok()) return ready;
  }
}

Result<void> TlsConnection::wait(short events) {
  pollfd watched{socket_, events, 0};
  const int left = left_ms(deadline_us_);
  if (left == 0 || ::poll(&watched, 1, left) == 0) return too_slow();
  return {};
}

Result<std::string> TlsConnection::exporter() const {
  constexpr std::string_view kLabel = "EXPORTER-exo-admission";
  std::string out(32, '\0');
  if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(out.data()),
                                 out.size(), kLabel.data(), kLabel.size(), nullptr, 0, 0) != 1)
    return crypto::openssl_error("cannot bind to the TLS connection");
  return out;
}

Result<crypto::Digest> TlsConnection::issuer_key_hash() const {
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl_.get());
  if (chain == nullptr || sk_X509_num(chain) != 2)
    return permission_denied("the other side does not show its cluster's certificate");
  EVP_PKEY* issuer = X509_get0_pubkey(sk_X509_value(chain, 1));
  if (issuer == nullptr || X509_verify(sk_X509_value(chain, 0), issuer) != 1) {
    ERR_clear_error();
    return permission_denied("the other side's certificate is not signed by its cluster");
  }
  return crypto::public_key_hash(issuer);
}

Result<int> tcp_connect(const std::string& ipv4, uint16_t port, int64_t deadline_us) {
  const auto failed = [&](const char* why) {
    return unavailable(fmt::format("cannot connect to {}:{}: {}", ipv4, port, why));
  };
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, ipv4.c_str(), &address.sin_addr) != 1) return failed("not an address");
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return failed(std::strerror(errno));
  prepare(fd);
  int error = 0;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) error = errno;
  if (error == EINPROGRESS) {
    pollfd watched{fd, POLLOUT, 0};
    socklen_t size = sizeof error;
    error = ETIMEDOUT;
    if (::poll(&watched, 1, left_ms(deadline_us)) > 0)
      ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error == 0) return fd;
  ::close(fd);
  return failed(std::strerror(error));
}

}  // namespace exo
