#include "networking/grpc_transport.h"

#include <fmt/core.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "base/log.h"
#include "networking/link_table.h"

namespace exo {
namespace {

constexpr const char* kTlsName = "node.exo";  // in every node's certificate

// gRPC logs failed handshakes as errors of ours; they are somebody else's bytes.
void log_grpc(gpr_log_func_args* args) {
  const std::string_view text = args->message;
  const bool fatal = text.find("assertion failed") != std::string_view::npos;
  log::write(fatal ? log::Level::error : log::Level::debug, fmt::format("gRPC: {}", text));
}

// "ipv4:1.2.3.4:80", "ipv6:[::1]:80", or a name for the resolver.
std::string target_of(const PeerAddress& address) {
  if (address.host.find(':') != std::string::npos) {
    std::string host = address.host;
    if (const size_t scope = host.find('%'); scope != std::string::npos)
      host.insert(scope + 1, "25");
    return fmt::format("ipv6:%5B{}%5D:{}", host, address.port);
  }
  const bool numeric = address.host.find_first_not_of("0123456789.") == std::string::npos;
  return fmt::format("{}:{}:{}", numeric ? "ipv4" : "dns", address.host, address.port);
}

std::string listening_address(const std::string& host, uint16_t port) {
  const bool ipv6 = host.find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace

class GrpcTransport::Impl : public grpc::CallbackGenericService {
 public:
  explicit Impl(GrpcTransportOptions options)
      : options_(std::move(options)),
        links_(options_, [this](const PeerAddress& address, const NodeId& expected) {
          return dial_stream(links_, channel_to(address), address, expected);
        }) {
    const Identity& identity = *options_.identity;
    credentials_ = grpc::SslCredentials({identity.cluster_certificate_pem(),
                                         identity.node_key_pem(), identity.node_certificate_pem()});
  }
  ~Impl() override { stop(); }

  Result<void> start(TransportHandler& handler) {
    gpr_set_log_function(log_grpc);
    const Identity& identity = *options_.identity;
    grpc::SslServerCredentialsOptions tls(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = identity.cluster_certificate_pem();
    tls.pem_key_cert_pairs.push_back({identity.node_key_pem(), identity.node_certificate_pem()});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listening_address(options_.host, options_.port),
                             grpc::SslServerCredentials(tls), &port);
    builder.RegisterCallbackGenericService(this);
    builder.SetMaxReceiveMessageSize(static_cast<int>(WireLimits{}.frame_bytes()));
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, options_.keepalive_interval_ms);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options_.keepalive_timeout_ms);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, options_.handshake_timeout_ms);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4);
    links_.start(handler);
    server_ = builder.BuildAndStart();
    if (!server_ || port == 0) {
      stop();
      return unavailable(
          fmt::format("cannot listen on {} for other nodes: the port is taken, or not allowed. "
                      "Choose another with --node-port",
                      listening_address(options_.host, options_.port)));
    }
    port_ = static_cast<uint16_t>(port);
    return {};
  }

  void stop() {
    links_.stop();
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    if (server_) server_->Wait();
    server_.reset();
  }

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    auto [reactor, stream] = accept_stream(links_, context);
    links_.accept(stream);
    return reactor;
  }

  LinkTable& links() { return links_; }
  uint16_t port() const { return port_; }

 private:
  // A channel of its own for each dial: no shared connection, no hidden back-off.
  std::shared_ptr<grpc::Channel> channel_to(const PeerAddress& address) const {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(kTlsName);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, options_.keepalive_interval_ms);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options_.keepalive_timeout_ms);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(static_cast<int>(WireLimits{}.frame_bytes()));
    return grpc::CreateCustomChannel(target_of(address), credentials_, arguments);
  }

  const GrpcTransportOptions options_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  LinkTable links_;
  std::unique_ptr<grpc::Server> server_;
  uint16_t port_ = 0;
};

GrpcTransport::GrpcTransport(GrpcTransportOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
GrpcTransport::~GrpcTransport() = default;
Result<void> GrpcTransport::start(TransportHandler& handler) { return impl_->start(handler); }
uint16_t GrpcTransport::port() const { return impl_->port(); }
void GrpcTransport::connect(const NodeId& peer, const PeerAddress& address) {
  impl_->links().connect(peer, address);
}
void GrpcTransport::disconnect(const NodeId& peer) { impl_->links().disconnect(peer); }
bool GrpcTransport::send(const NodeId& to, Message message) {
  return impl_->links().send(to, message);
}
void GrpcTransport::stop() { impl_->stop(); }
void GrpcTransport::set_revoked(const std::vector<NodeId>& nodes) {
  impl_->links().set_revoked(nodes);
}

}  // namespace exo
