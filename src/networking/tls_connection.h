// A TLS 1.3 connection over a TCP socket with one deadline for everything that happens on it, for
// the short exchange of admission.cpp. Blocking; used by one thread. Failures are Errors that name
// the step.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "networking/crypto.h"

namespace exo {

using TlsContext = std::unique_ptr<SSL_CTX, crypto::Deleter<SSL_CTX_free>>;

// The server shows the node's certificate and its issuer's. The client accepts any: the caller
// checks the chain against its pin after the handshake.
Result<TlsContext> tls_server_context(const std::string& certificate_pem,
                                      const std::string& issuer_pem, const std::string& key_pem);
Result<TlsContext> tls_client_context();

class TlsConnection {
 public:
  // Takes the connected socket.
  TlsConnection(int socket, int64_t deadline_us) : socket_(socket), deadline_us_(deadline_us) {}
  ~TlsConnection();
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;

  Result<void> handshake(SSL_CTX* context, bool server);
  Result<void> write(std::string_view bytes);
  Result<std::string> read(size_t size);  // exactly so many
  // A value only the two ends of this connection know (RFC 5705).
  Result<std::string> exporter() const;
  // Hash of the issuer's public key, when the peer showed a certificate signed by that issuer.
  Result<crypto::Digest> issuer_key_hash() const;

 private:
  template <class Step>
  Result<void> drive(const char* what, Step step);
  Result<void> flush();
  Result<void> fill();
  Result<void> wait(short events);

  int socket_;
  const int64_t deadline_us_;
  std::unique_ptr<SSL, crypto::Deleter<SSL_free>> ssl_;
};

// A connected socket, or an error that names the address.
Result<int> tcp_connect(const std::string& ipv4, uint16_t port, int64_t deadline_us);

}  // namespace exo
