#include "api/http_server.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <thread>

#include "api/http_connection.h"
#include "base/log.h"

namespace exo {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// --- HttpExchange

HttpExchange::HttpExchange(std::shared_ptr<HttpConnection> connection, uint64_t serial,
                           HttpRequest request)
    : connection_(std::move(connection)), serial_(serial), request_(std::move(request)) {}

// Posted, never run at once: an answer given on another thread may still be on its way.
HttpExchange::~HttpExchange() {
  connection_->run_later([connection = connection_, serial = serial_] {
    if (connection->answers(serial)) connection->abort();
  });
}

void HttpExchange::prepare_answer(HttpHeaders headers, std::function<void(int)> on_answer) {
  answer_headers_ = std::move(headers);
  on_answer_ = std::move(on_answer);
}

HttpResponse HttpExchange::dress(HttpResponse response) {
  response.headers.insert(response.headers.end(), answer_headers_.begin(), answer_headers_.end());
  if (on_answer_) on_answer_(response.status);
  return response;
}

void HttpExchange::respond(HttpResponse response) {
  connection_->run_for(serial_,
                       [connection = connection_, response = dress(std::move(response))]() mutable {
                         connection->respond(std::move(response));
                       });
}

void HttpExchange::begin_stream(HttpResponse head) {
  connection_->run_for(serial_, [connection = connection_, head = dress(std::move(head))] {
    connection->begin_stream(head);
  });
}

void HttpExchange::write(std::string bytes) {
  connection_->run_for(serial_, [connection = connection_, bytes = std::move(bytes)] {
    connection->write_stream(bytes);
  });
}

void HttpExchange::end() {
  connection_->run_for(serial_, [connection = connection_] { connection->end_stream(); });
}

void HttpExchange::abort() {
  connection_->run_for(serial_, [connection = connection_] { connection->abort(); });
}

void HttpExchange::post(std::function<void()> task) { connection_->run_later(std::move(task)); }

void HttpExchange::run_on_worker(std::function<void()> task) {
  if (connection_->server().stopping) return;
  asio::post(connection_->server().workers, std::move(task));
}

void HttpExchange::set_timer(int timeout_ms, std::function<void()> task) {
  connection_->run_for(serial_, [connection = connection_, timeout_ms, task = std::move(task)] {
    connection->set_timer(timeout_ms, task);
  });
}

void HttpExchange::set_callbacks(std::function<void(CloseReason)> on_close,
                                 std::function<void()> on_drained) {
  if (connection_->answers(serial_))
    connection_->set_callbacks(std::move(on_close), std::move(on_drained));
  else
    connection_->run_later(
        [on_close = std::move(on_close)] { on_close(CloseReason::client_gone); });
}

void HttpExchange::needs_no_grace() {
  connection_->run_for(serial_, [connection = connection_] { connection->needs_no_grace(); });
}

bool HttpExchange::write_buffer_full() const {
  return !connection_->answers(serial_) || connection_->write_buffer_full();
}

size_t HttpExchange::open_connections() const {
  HttpServer::State& server = connection_->server();
  const std::lock_guard lock(server.mutex);
  return server.connections.size();
}

// --- listening

namespace {

using State = HttpServer::State;

// A thousand open streams need more descriptors than many systems give by default.
void raise_descriptor_limit(size_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY
                       ? wanted
                       : std::min<rlim_t>(static_cast<rlim_t>(wanted), limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<tcp::acceptor> listen_on(State& state, const asio::ip::address& address, uint16_t port) {
  const tcp::endpoint endpoint(address, port);
  tcp::acceptor acceptor(asio::make_strand(state.io));
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && address.is_v6())
    acceptor.set_option(asio::ip::v6_only(!address.is_unspecified()), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(4096, error);
  if (!error) return acceptor;
  if (error == asio::error::address_in_use)
    return Error{ErrorCode::already_exists,
                 fmt::format("port {} on {} is already in use", port, address.to_string())};
  return unavailable(
      fmt::format("cannot listen on {} port {}: {}", address.to_string(), port, error.message()));
}

void turn_away(tcp::socket socket) {
  error_code ignored;
  socket.non_blocking(true, ignored);
  static constexpr std::string_view kFull =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
      "Connection: close\r\n\r\n";
  socket.write_some(asio::buffer(kFull.data(), kFull.size()), ignored);
}

void accept_next(const std::shared_ptr<State>& state, tcp::acceptor& acceptor);

void accept_again_soon(const std::shared_ptr<State>& state, tcp::acceptor& acceptor) {
  auto timer =
      std::make_shared<asio::steady_timer>(acceptor.get_executor(), std::chrono::milliseconds(100));
  timer->async_wait([state, &acceptor, timer](const error_code&) {
    if (!state->stopping) accept_next(state, acceptor);
  });
}

void accept_next(const std::shared_ptr<State>& state, tcp::acceptor& acceptor) {
  acceptor.async_accept(asio::make_strand(state->io), [state, &acceptor](const error_code& error,
                                                                         tcp::socket socket) {
    if (state->stopping) return;
    if (error) {  // out of descriptors, mostly: wait for some to come back
      log::warn("api: accept failed: {}", error.message());
      return accept_again_soon(state, acceptor);
    }
    auto connection = std::shared_ptr<HttpConnection>();
    {
      const std::lock_guard lock(state->mutex);
      if (state->stopping) return;
      if (state->connections.size() < state->options.limits.max_connections) {
        connection = std::make_shared<HttpConnection>(std::move(socket), state);
        state->connections.emplace(connection.get(), connection);
      }
    }
    if (connection)
      connection->start();
    else
      turn_away(std::move(socket));
    accept_next(state, acceptor);
  });
}

Result<void> open_acceptors(State& state) {
  const HttpServerOptions& options = state.options;
  const std::string host = options.host == "localhost" ? "127.0.0.1" : options.host;
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error)
    return invalid_argument(
        fmt::format("'{}' is not an address to listen on; use 127.0.0.1, 0.0.0.0, :: or an address "
                    "of this machine",
                    options.host));
  state.acceptors.push_back(TRY(listen_on(state, address, options.port)));
  state.port = state.acceptors.front().local_endpoint(error).port();
  // Clients resolve "localhost" to ::1 first on many systems.
  if (address == asio::ip::address_v4::loopback()) {
    auto second = listen_on(state, asio::ip::address_v6::loopback(), state.port);
    if (second.ok()) state.acceptors.push_back(std::move(second).value());
  }
  return {};
}

std::vector<std::shared_ptr<HttpConnection>> open_connections(State& state) {
  const std::lock_guard lock(state.mutex);
  std::vector<std::shared_ptr<HttpConnection>> open;
  for (const auto& [key, weak] : state.connections)
    if (auto connection = weak.lock()) open.push_back(std::move(connection));
  return open;
}

}  // namespace

HttpServer::HttpServer(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, Handler handler) {
  raise_descriptor_limit(options.limits.max_connections + 512);
  auto state = std::make_shared<State>(std::move(options), std::move(handler));
  TRY(open_acceptors(*state));
  for (auto& acceptor : state->acceptors) accept_next(state, acceptor);
  for (int i = 0; i < state->options.io_threads; ++i)
    state->threads.emplace_back([state = state.get()] { state->io.run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

HttpServer::~HttpServer() { stop(0); }

void HttpServer::stop(int grace_ms) {
  State& state = *state_;
  if (state.stopping.exchange(true)) return;
  for (auto& acceptor : state.acceptors)
    asio::dispatch(acceptor.get_executor(), [&acceptor] {
      error_code ignored;
      acceptor.close(ignored);
    });
  const auto tell = [&](bool now) {
    for (const auto& connection : open_connections(state))
      connection->run_later([connection, now] { connection->server_stops(now); });
  };
  tell(false);
  const auto wait = [&](int timeout_ms, auto done) {
    std::unique_lock lock(state.mutex);
    state.changed.wait_for(lock, std::chrono::milliseconds(timeout_ms), done);
  };
  wait(grace_ms, [&] { return state.open_exchanges == 0; });
  tell(true);
  wait(1000, [&] { return state.open_exchanges == 0; });
  for (const auto& connection : open_connections(state))
    connection->run_later([connection] { connection->close(CloseReason::server_stopping); });
  state.workers.join();
  state.io_work.reset();
  // With every socket and timer closed the I/O threads run out of work and return.
  for (auto& thread : state.threads) thread.join();
  state.stopped = true;
}

uint16_t HttpServer::port() const { return state_->port; }

}  // namespace exo
