// HttpServer: HTTP/1.1 in front of a handler, for many slow clients at once. It owns its listeners,
// a few I/O threads and a few worker threads; it is stopped by stop() or its destructor. start()
// fails with already_exists when the port is taken, so that the caller can look who holds it.
//
// HttpExchange: one request and its answer, shared with the handler. All calls are thread-safe
// unless said otherwise; callbacks run one at a time on the connection's executor. A client that
// goes away makes the exchange deaf: calls do nothing and on_close is called once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/http_message.h"
#include "base/result.h"

namespace exo {

struct HttpLimits {
  size_t header_bytes = 32 * 1024;
  size_t body_bytes = 64u << 20;
  size_t all_bodies_bytes = 512u << 20;  // of all connections together
  size_t max_connections = 8192;
  size_t write_pause_bytes = 256 * 1024;  // a stream's producer should wait above this
  size_t write_drop_bytes = 8u << 20;     // a stream's client is dropped above this
  int header_timeout_ms = 15'000;
  int body_timeout_ms = 30'000;   // between two pieces of a body
  int idle_timeout_ms = 75'000;   // between two requests
  int write_timeout_ms = 30'000;  // without any progress
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // numeric, or "localhost"; loopback binds ::1 too where it can
  uint16_t port = 0;               // 0 = any free one
  int io_threads = 2;
  int worker_threads = 2;
  HttpLimits limits;
  HttpHeaders common_headers;  // added to every answer
  // The body of an answer the server gives by itself (a malformed request).
  std::function<HttpResponse(int status, const std::string& message)> make_error;
};

enum class CloseReason { client_gone, server_stopping };

class HttpConnection;

class HttpExchange {
 public:
  HttpExchange(std::shared_ptr<HttpConnection> connection, uint64_t serial, HttpRequest request);
  ~HttpExchange();  // an exchange dropped without an answer closes the connection
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  const HttpRequest& request() const { return request_; }
  std::string take_body() { return std::move(request_.body); }  // once: frees what parsing ate

  // Before the first answer: headers every answer gets, and who is told its status.
  void prepare_answer(HttpHeaders headers, std::function<void(int status)> on_answer);

  void respond(HttpResponse response);
  // A body of unknown length: head first, then any number of write(), then end(). abort() closes
  // without a proper end, so that the client sees that something is missing.
  void begin_stream(HttpResponse head);
  void write(std::string bytes);
  void end();
  void abort();

  // Runs later on the connection's executor, or on a worker thread (for what takes long).
  void post(std::function<void()> task);
  void run_on_worker(std::function<void()> task);
  // One timer per exchange; setting it again replaces it.
  void set_timer(int timeout_ms, std::function<void()> task);

  // From the executor only. With on_close set, the end of the client's sending side counts as
  // leaving; without it a half-closed client still gets its answer. on_drained is called when the
  // write buffer has become small again.
  void set_callbacks(std::function<void(CloseReason)> on_close, std::function<void()> on_drained);
  bool write_buffer_full() const;  // also when nobody listens any more
  // It tells of something else that goes on: a server that stops tells or closes it at once.
  void needs_no_grace();
  size_t open_connections() const;  // of the whole server

 private:
  HttpResponse dress(HttpResponse response);

  std::shared_ptr<HttpConnection> connection_;
  const uint64_t serial_;  // which request of the connection this answers
  HttpRequest request_;
  HttpHeaders answer_headers_;
  std::function<void(int)> on_answer_;
};

class HttpServer {
 public:
  using Handler = std::function<void(std::shared_ptr<HttpExchange>)>;

  static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Accepts nothing more, lets open exchanges finish for grace_ms, tells the rest, closes.
  void stop(int grace_ms);
  uint16_t port() const;
  struct State;

 private:
  explicit HttpServer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace exo
