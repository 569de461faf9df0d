#include "api/http_connection.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <array>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <chrono>

#include "base/world.h"

namespace exo {
namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kMaxEarlyBytes = 64 * 1024;  // of requests sent before the answer to the last one
constexpr size_t kMaxDrainBytes = 16u << 20;
constexpr int kLingerMs = 2'000;

std::string http_date() {
  const auto seconds = static_cast<std::time_t>(real_world().wall_time_ms() / 1000);
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(seconds));
}

struct Refusal {
  int status;
  std::string message;
};

Refusal refusal_of(const error_code& error, const HttpLimits& limits) {
  if (error == http::error::body_limit)
    return {413, fmt::format("the request body is larger than {} bytes", limits.body_bytes)};
  if (error == http::error::header_limit)
    return {431, fmt::format("the request headers are larger than {} bytes", limits.header_bytes)};
  if (error == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  return {400, fmt::format("malformed HTTP request: {}", error.message())};
}

}  // namespace

HttpConnection::HttpConnection(asio::ip::tcp::socket socket,
                               std::shared_ptr<HttpServer::State> server)
    : server_(std::move(server)),
      socket_(std::move(socket)),
      deadline_(socket_.get_executor()),
      write_deadline_(socket_.get_executor()),
      exchange_timer_(socket_.get_executor()) {}

HttpConnection::~HttpConnection() { release_body(); }

void HttpConnection::start() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  asio::dispatch(socket_.get_executor(), [self = shared_from_this()] {
    self->arm_deadline(self->server_->options.limits.header_timeout_ms);
    self->watch();
  });
}

void HttpConnection::run_later(std::function<void()> task) {
  if (server_->stopped) return;
  asio::post(socket_.get_executor(),
             [self = shared_from_this(), task = std::move(task)] { task(); });
}

void HttpConnection::run_for(uint64_t serial, std::function<void()> task) {
  if (server_->stopped) return;
  asio::dispatch(socket_.get_executor(),
                 [self = shared_from_this(), serial, task = std::move(task)] {
                   if (self->answers(serial)) task();
                 });
}

// --- reading

void HttpConnection::watch() {
  if (watching_ || peer_done_ || phase_ == Phase::closed) return;
  const bool busy = phase_ == Phase::answering || phase_ == Phase::finishing;
  if (busy && input_.size() >= kMaxEarlyBytes) return;
  watching_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this()](const error_code& error) {
                       self->watching_ = false;
                       self->on_readable(error);
                     });
}

void HttpConnection::on_readable(const error_code& error) {
  if (phase_ == Phase::closed) return;
  if (error) return close(CloseReason::client_gone);
  std::array<char, kReadBytes> buffer;
  error_code failure;
  const size_t count = socket_.read_some(asio::buffer(buffer), failure);
  if (failure == asio::error::would_block || failure == asio::error::try_again) return watch();
  if (failure == asio::error::eof) return on_end_of_input();
  if (failure) return close(CloseReason::client_gone);
  if (phase_ == Phase::draining) {
    drained_bytes_ += count;
    if (drained_bytes_ > kMaxDrainBytes) return close(CloseReason::client_gone);
    return watch();
  }
  input_.append(buffer.data(), count);
  if (phase_ != Phase::reading) return watch();
  if (header_seen_) arm_deadline(server_->options.limits.body_timeout_ms);
  parse();
}

void HttpConnection::on_end_of_input() {
  peer_done_ = true;
  const bool wants_answer =
      (phase_ == Phase::answering && !on_close_) || phase_ == Phase::finishing;
  if (!wants_answer) close(CloseReason::client_gone);
}

bool HttpConnection::begin_request() {
  const size_t begin = input_.find_first_not_of("\r\n");
  input_.erase(0, begin == std::string::npos ? input_.size() : begin);
  if (input_.empty()) return false;
  const HttpLimits& limits = server_->options.limits;
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(limits.header_bytes));
  parser_->body_limit(limits.body_bytes);
  header_seen_ = false;
  arm_deadline(limits.header_timeout_ms);
  return true;
}

void HttpConnection::parse() {
  while (phase_ == Phase::reading) {
    if (!parser_ && !begin_request()) return watch();
    if (input_.empty()) return watch();
    error_code error;
    const size_t used = parser_->put(asio::buffer(input_), error);
    input_.erase(0, used);
    if (error && error != http::error::need_more) {
      const Refusal refusal = refusal_of(error, server_->options.limits);
      return refuse(refusal.status, refusal.message);
    }
    if (!header_seen_ && parser_->is_header_done()) {
      header_seen_ = true;
      if (!header_done()) return;
    }
    if (!account_body()) return;
    if (parser_->is_done()) return dispatch();
    if (used == 0) return watch();
  }
}

bool HttpConnection::header_done() {
  const auto& message = parser_->get();
  const auto fail = [&](int status, const std::string& text) {
    refuse(status, text);
    return false;
  };
  if (message.version() != 10 && message.version() != 11)
    return fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
  const size_t hosts = message.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() == 11))
    return fail(400, "a request needs exactly one Host header");
  const size_t encodings = message.count(http::field::transfer_encoding);
  if (encodings > 0) {
    const auto encoding = message[http::field::transfer_encoding];
    if (encodings > 1 || !equals_ignoring_case({encoding.data(), encoding.size()}, "chunked"))
      return fail(501, "the only supported Transfer-Encoding is chunked");
    if (message.version() == 10) return fail(400, "HTTP/1.0 has no Transfer-Encoding");
    if (message.count(http::field::content_length) > 0)
      return fail(400, "Content-Length and Transfer-Encoding contradict each other");
  }
  arm_deadline(server_->options.limits.body_timeout_ms);
  const auto expect = message[http::field::expect];
  if (expect.empty() || message.version() == 10) return true;
  if (!equals_ignoring_case({expect.data(), expect.size()}, "100-continue"))
    return fail(417, "the only supported Expect is 100-continue");
  if (!parser_->is_done()) {
    enqueue("HTTP/1.1 100 Continue\r\n\r\n");
    flush();
  }
  return true;
}

// Bodies of all connections share one budget, so that many large uploads cannot take all memory.
bool HttpConnection::account_body() {
  const size_t now = parser_->get().body().size();
  if (now <= counted_body_bytes_) return true;
  const size_t added = now - counted_body_bytes_;
  counted_body_bytes_ = now;
  const size_t total = server_->body_bytes.fetch_add(added) + added;
  if (total <= server_->options.limits.all_bodies_bytes) return true;
  refuse(503, "too many large requests at once; try again later");
  return false;
}

void HttpConnection::release_body() {
  server_->body_bytes -= counted_body_bytes_;
  counted_body_bytes_ = 0;
}

void HttpConnection::dispatch() {
  auto message = parser_->release();
  const auto target = message.target();
  auto parsed = parse_target({target.data(), target.size()});
  if (!parsed) return refuse(400, "malformed request target");

  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(target);
  request.path = std::move(parsed->path);
  request.query = std::move(parsed->query);
  request.http_1_0 = message.version() == 10;
  for (const auto& field : message)
    request.headers.emplace_back(
        lower_case({field.name_string().data(), field.name_string().size()}),
        std::string(field.value()));
  request.body = std::move(message.body());
  error_code gone;
  const auto local = socket_.local_endpoint(gone).address();
  const auto remote = socket_.remote_endpoint(gone).address();
  if (gone) return close(CloseReason::client_gone);
  const auto plain = [](const asio::ip::address& address) {
    return address.is_v6() && address.to_v6().is_v4_mapped()
               ? asio::ip::address(asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()))
               : address;
  };
  request.local_address = plain(local).to_string();
  request.remote_loopback = plain(remote).is_loopback();

  deadline_.cancel();
  keep_alive_ = message.keep_alive();
  head_only_ = request.method == "HEAD";
  chunked_ = !request.http_1_0;
  streaming_ = false;
  needs_no_grace_ = false;
  phase_ = Phase::answering;
  counted_ = true;
  {
    const std::lock_guard lock(server_->mutex);
    ++server_->open_exchanges;
  }
  server_->handler(
      std::make_shared<HttpExchange>(shared_from_this(), ++serial_, std::move(request)));
  watch();
}

void HttpConnection::refuse(int status, const std::string& message) {
  keep_alive_ = false;
  head_only_ = false;
  phase_ = Phase::answering;
  HttpResponse response{status, "text/plain", message + "\n", {}};
  if (server_->options.make_error) response = server_->options.make_error(status, message);
  respond(std::move(response));
  watch();
}

// --- answering

std::string HttpConnection::head(const HttpResponse& response, std::optional<size_t> length) {
  if (server_->stopping) keep_alive_ = false;
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status,
                                 status_phrase(response.status), http_date());
  const bool has_body = response.status != 204 && response.status != 304;
  if (has_body && !response.content_type.empty())
    text += fmt::format("Content-Type: {}\r\n", response.content_type);
  if (has_body && length) text += fmt::format("Content-Length: {}\r\n", *length);
  if (!length && chunked_) text += "Transfer-Encoding: chunked\r\n";
  if (!length && !chunked_) keep_alive_ = false;
  text += keep_alive_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
  for (const auto& [name, value] : server_->options.common_headers)
    text += fmt::format("{}: {}\r\n", name, value);
  for (const auto& [name, value] : response.headers) text += fmt::format("{}: {}\r\n", name, value);
  text += "\r\n";
  return text;
}

void HttpConnection::respond(HttpResponse response) {
  if (phase_ != Phase::answering || streaming_) return;
  enqueue(head(response, response.body.size()));
  if (!head_only_ && response.status != 204 && response.status != 304) enqueue(response.body);
  phase_ = Phase::finishing;
  flush();
}

void HttpConnection::begin_stream(HttpResponse response) {
  if (phase_ != Phase::answering || streaming_) return;
  streaming_ = true;
  enqueue(head(response, std::nullopt));
  flush();
}

void HttpConnection::write_stream(std::string_view bytes) {
  if (phase_ != Phase::answering || !streaming_ || bytes.empty() || head_only_) return;
  if (pending_.size() + bytes.size() > server_->options.limits.write_drop_bytes)
    return close(CloseReason::client_gone);
  if (chunked_) enqueue(fmt::format("{:x}\r\n", bytes.size()));
  enqueue(bytes);
  if (chunked_) enqueue("\r\n");
  flush();
}

void HttpConnection::end_stream() {
  if (phase_ != Phase::answering || !streaming_) return;
  if (chunked_ && !head_only_) enqueue("0\r\n\r\n");
  phase_ = Phase::finishing;
  if (!write_active_ && pending_.empty()) return run_later([this] { exchange_done(); });
  flush();
}

void HttpConnection::enqueue(std::string_view bytes) { pending_.append(bytes); }

void HttpConnection::flush() {
  if (write_active_ || phase_ == Phase::closed) return;
  if (written_ == writing_.size()) {
    if (pending_.empty()) return;
    writing_.clear();
    written_ = 0;
    writing_.swap(pending_);
  }
  write_active_ = true;
  write_deadline_.expires_after(
      std::chrono::milliseconds(server_->options.limits.write_timeout_ms));
  write_deadline_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (!error && self && self->write_active_) self->close(CloseReason::client_gone);
  });
  socket_.async_write_some(asio::buffer(writing_.data() + written_, writing_.size() - written_),
                           [self = shared_from_this()](const error_code& error, size_t count) {
                             self->on_written(error, count);
                           });
}

void HttpConnection::on_written(const error_code& error, size_t count) {
  write_active_ = false;
  if (phase_ == Phase::closed) return;
  if (error) return close(CloseReason::client_gone);
  written_ += count;
  if (was_full_ && pending_.size() + writing_.size() - written_ <
                       server_->options.limits.write_pause_bytes / 2) {
    was_full_ = false;
    if (on_drained_) on_drained_();
  }
  if (written_ < writing_.size() || !pending_.empty()) return flush();
  write_deadline_.cancel();
  writing_ = {};
  written_ = 0;
  if (phase_ == Phase::finishing) exchange_done();
}

void HttpConnection::set_timer(int timeout_ms, std::function<void()> task) {
  exchange_timer_.expires_after(std::chrono::milliseconds(timeout_ms));
  exchange_timer_.async_wait(
      [weak = weak_from_this(), serial = serial_, task = std::move(task)](const error_code& error) {
        const auto self = weak.lock();
        if (!error && self && self->answers(serial)) task();
      });
}

void HttpConnection::set_callbacks(std::function<void(CloseReason)> on_close,
                                   std::function<void()> on_drained) {
  on_close_ = std::move(on_close);
  on_drained_ = std::move(on_drained);
  if (stop_told_) run_later([this] { server_stops(true); });
  if (peer_done_ && on_close_)
    run_later([this] {
      if (phase_ == Phase::answering && on_close_) close(CloseReason::client_gone);
    });
}

bool HttpConnection::write_buffer_full() {
  const size_t waiting = pending_.size() + writing_.size() - written_;
  if (waiting > server_->options.limits.write_pause_bytes) was_full_ = true;
  return was_full_;
}

// --- the end of an exchange, of a connection

void HttpConnection::uncount() {
  if (!counted_) return;
  counted_ = false;
  const std::lock_guard lock(server_->mutex);
  --server_->open_exchanges;
  server_->changed.notify_all();
}

void HttpConnection::exchange_done() {
  if (phase_ != Phase::finishing) return;
  const auto on_close = std::move(on_close_);  // destroyed when this returns
  const auto on_drained = std::move(on_drained_);
  on_close_ = nullptr;
  on_drained_ = nullptr;
  exchange_timer_.cancel();
  uncount();
  release_body();
  parser_.reset();
  header_seen_ = false;
  was_full_ = false;
  if (!keep_alive_ || peer_done_ || server_->stopping) return linger();
  phase_ = Phase::reading;
  arm_deadline(server_->options.limits.idle_timeout_ms);
  parse();
}

// Closing with unread input makes the kernel reset the connection, and the client may lose the
// answer: say that we are done, and read on for a moment.
void HttpConnection::linger() {
  if (peer_done_ || server_->stopping) return close(CloseReason::client_gone);
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  phase_ = Phase::draining;
  input_ = {};
  arm_deadline(kLingerMs);
  watch();
}

void HttpConnection::arm_deadline(int timeout_ms) {
  deadline_.expires_after(std::chrono::milliseconds(timeout_ms));
  deadline_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    const bool waiting = self->phase_ == Phase::reading || self->phase_ == Phase::draining;
    if (waiting && self->deadline_.expiry() <= std::chrono::steady_clock::now())
      self->close(CloseReason::client_gone);
  });
}

void HttpConnection::needs_no_grace() {
  needs_no_grace_ = true;
  if (server_->stopping) run_later([this] { server_stops(false); });
}

void HttpConnection::server_stops(bool now) {
  if (phase_ == Phase::reading || phase_ == Phase::draining)
    return close(CloseReason::server_stopping);
  if (!(now || needs_no_grace_) || phase_ != Phase::answering) return;
  stop_told_ = true;
  if (!on_close_ && needs_no_grace_) return close(CloseReason::server_stopping);
  if (!on_close_) return;  // told when somebody listens, closed when that takes too long
  const auto tell = std::move(on_close_);
  on_close_ = nullptr;
  tell(CloseReason::server_stopping);
}

void HttpConnection::close(CloseReason reason) {
  if (phase_ == Phase::closed) return;
  const bool tell = phase_ == Phase::answering;
  phase_ = Phase::closed;
  const auto on_close = std::move(on_close_);
  const auto on_drained = std::move(on_drained_);
  on_close_ = nullptr;
  on_drained_ = nullptr;
  deadline_.cancel();
  write_deadline_.cancel();
  exchange_timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
  pending_ = {};
  input_ = {};
  parser_.reset();
  release_body();
  uncount();
  {
    const std::lock_guard lock(server_->mutex);
    server_->connections.erase(this);
    server_->changed.notify_all();
  }
  if (tell && on_close) on_close(reason);
}

}  // namespace exo
