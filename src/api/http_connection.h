// HttpConnection: one client of the HttpServer: reading and framing requests, one exchange at a
// time, a bounded write buffer, deadlines. Internal to the server (includes Asio and Beast). All
// members are touched on the connection's strand only; requests that arrive early wait in the
// input buffer. A pending read watches for the client's leaving while an answer is made.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/http/parser.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "api/http_server.h"

namespace exo {

struct HttpServer::State {
  State(HttpServerOptions server_options, Handler server_handler)
      : options(std::move(server_options)),
        handler(std::move(server_handler)),
        workers(static_cast<size_t>(options.worker_threads)) {}

  const HttpServerOptions options;
  const Handler handler;
  std::atomic<size_t> body_bytes{0};
  std::atomic<bool> stopping{false};
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  std::condition_variable changed;
  std::unordered_map<HttpConnection*, std::weak_ptr<HttpConnection>> connections;  // open ones
  size_t open_exchanges = 0;                                                       // with mutex
  uint16_t port = 0;

  boost::asio::io_context io;
  // Until the workers are done, what they hand back finds a thread.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> io_work{
      io.get_executor()};
  boost::asio::thread_pool workers;
  std::vector<boost::asio::ip::tcp::acceptor> acceptors;
  std::vector<std::thread> threads;
};

// A request body in a string that grows with what arrives, never with what was announced.
struct GrowingBody {
  using value_type = std::string;
  class reader {
   public:
    template <bool IsRequest, class Fields>
    reader(boost::beast::http::header<IsRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& error) {
      error = {};
    }
    template <class Buffers>
    size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      error = {};
      size_t taken = 0;
      for (auto it = boost::asio::buffer_sequence_begin(buffers);
           it != boost::asio::buffer_sequence_end(buffers); ++it) {
        const boost::asio::const_buffer buffer = *it;
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        taken += buffer.size();
      }
      return taken;
    }
    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::ip::tcp::socket socket, std::shared_ptr<HttpServer::State> server);
  ~HttpConnection();

  void start();
  void run_later(std::function<void()> task);  // on the strand, never inside this call
  // On the strand, now where possible, if request `serial` is still being answered.
  void run_for(uint64_t serial, std::function<void()> task);
  bool answers(uint64_t serial) const { return phase_ == Phase::answering && serial == serial_; }

  // The exchange's side; on the strand.
  void respond(HttpResponse response);
  void begin_stream(HttpResponse head);
  void write_stream(std::string_view bytes);
  void end_stream();
  void abort() { close(CloseReason::client_gone); }
  void set_timer(int timeout_ms, std::function<void()> task);
  void set_callbacks(std::function<void(CloseReason)> on_close, std::function<void()> on_drained);
  bool write_buffer_full();
  void needs_no_grace();
  HttpServer::State& server() { return *server_; }

  // The server is stopping: idle connections close; with `now`, or in need of no grace, busy ones
  // are told.
  void server_stops(bool now);
  void close(CloseReason reason);

 private:
  enum class Phase { reading, answering, finishing, draining, closed };
  using Parser = boost::beast::http::request_parser<GrowingBody>;

  void watch();
  void on_readable(const boost::system::error_code& error);
  void on_end_of_input();
  void parse();
  bool begin_request();
  bool header_done();
  bool account_body();
  void dispatch();
  void refuse(int status, const std::string& message);
  std::string head(const HttpResponse& response, std::optional<size_t> length);
  void enqueue(std::string_view bytes);
  void flush();
  void on_written(const boost::system::error_code& error, size_t count);
  void exchange_done();
  void uncount();
  void linger();
  void arm_deadline(int timeout_ms);
  void release_body();

  std::shared_ptr<HttpServer::State> server_;  // first: the socket needs its io_context to the end
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer deadline_, write_deadline_, exchange_timer_;
  Phase phase_ = Phase::reading;
  std::optional<Parser> parser_;
  bool header_seen_ = false;
  uint64_t serial_ = 0;
  bool counted_ = false;  // in State::open_exchanges
  std::string input_;
  size_t counted_body_bytes_ = 0;
  std::string pending_, writing_;
  size_t written_ = 0;  // of writing_
  bool was_full_ = false;
  bool watching_ = false;
  bool write_active_ = false;
  bool peer_done_ = false;  // the client will send nothing more
  bool keep_alive_ = false;
  bool head_only_ = false;
  bool chunked_ = false;
  bool streaming_ = false;
  bool needs_no_grace_ = false;
  size_t drained_bytes_ = 0;
  std::function<void(CloseReason)> on_close_;
  bool stop_told_ = false;  // the server stops, and who answers was to hear of it
  std::function<void()> on_drained_;
};

}  // namespace exo
