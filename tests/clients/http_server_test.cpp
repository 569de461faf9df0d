#include "api/http_server.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "raw_client.h"

namespace exo {
namespace {

// GET /echo answers method, path and body; /stream counts; /flood writes until it is dropped;
// /hold answers never.
class HttpServerTest : public testing::Test {
 protected:
  void start(HttpLimits limits = {}) {
    HttpServerOptions options;
    options.limits = limits;
    server_ =
        HttpServer::start(options, [this](std::shared_ptr<HttpExchange> e) { handle(e); }).value();
  }
  void TearDown() override {
    if (server_) server_->stop(0);
  }

  void handle(const std::shared_ptr<HttpExchange>& exchange) {
    const HttpRequest& request = exchange->request();
    if (request.path == "/stream") {
      exchange->begin_stream(HttpResponse{200, "text/plain", "", {}});
      for (int i = 0; i < 3; ++i) exchange->write("part" + std::to_string(i));
      exchange->end();
    } else if (request.path == "/flood") {
      exchange->begin_stream(HttpResponse{200, "text/plain", "", {}});
      hold(exchange, true);
    } else if (request.path == "/worker") {  // drops its exchange at any moment after the answer
      exchange->run_on_worker([exchange] {
        exchange->respond(HttpResponse{200, "text/plain", "done", {}});
      });
    } else if (request.path == "/drop") {
    } else if (request.path == "/hold") {
      hold(exchange, false);
    } else {
      exchange->respond(HttpResponse{
          200, "text/plain", request.method + " " + request.path + " " + request.body, {}});
    }
  }
  void hold(const std::shared_ptr<HttpExchange>& exchange, bool flood) {
    exchange->set_callbacks(
        [this, exchange](CloseReason reason) {
          {
            const std::lock_guard lock(mutex_);
            closes_.push_back(reason);
            changed_.notify_all();
          }
          if (reason == CloseReason::server_stopping)
            exchange->respond(HttpResponse{503, "text/plain", "stopping", {}});
        },
        nullptr);
    while (flood && !exchange->write_buffer_full()) exchange->write(std::string(64 * 1024, 'x'));
    const std::lock_guard lock(mutex_);
    ++held_;
    changed_.notify_all();
  }
  bool wait_held(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return held_ >= count; });
  }
  bool wait_closes(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return closes_.size() >= count; });
  }
  RawClient client() { return RawClient(server_->port()); }
  std::string ask(const std::string& bytes) {
    RawClient raw = client();
    raw.send_bytes(bytes);
    return raw.read_response();
  }

  std::unique_ptr<HttpServer> server_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<CloseReason> closes_;
  size_t held_ = 0;
};

TEST_F(HttpServerTest, KeepsAliveAndAnswersPipelinedRequestsInOrder) {
  start();
  RawClient raw = client();
  raw.send_bytes(
      "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
      "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_TRUE(raw.read_response().ends_with("GET /a "));
  EXPECT_TRUE(
      raw.read_until("0\r\n\r\n").ends_with("5\r\npart0\r\n5\r\npart1\r\n5\r\npart2\r\n0\r\n\r\n"));
  EXPECT_TRUE(raw.read_response().ends_with("POST /b hi"));
}

TEST_F(HttpServerTest, AnAnswerFromAnotherThreadIsNeverLost) {
  start();
  RawClient raw = client();
  for (int i = 0; i < 2000; ++i) {
    raw.send_bytes("GET /worker HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(raw.read_response().ends_with("\r\n\r\ndone")) << i;
  }
  raw.send_bytes("GET /drop HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(raw.closed_by_server());
}

TEST_F(HttpServerTest, FramesBodies) {
  start();
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: t\r\n\r\n")
                  .ends_with("POST / abcde"));
  RawClient raw = client();
  raw.send_bytes("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(raw.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  raw.send_bytes("abc");
  EXPECT_TRUE(raw.read_response().ends_with("POST / abc"));
}

TEST_F(HttpServerTest, SpeaksHttp10AndHead) {
  start();
  RawClient old = client();
  old.send_bytes("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(old.read_to_end().ends_with("\r\n\r\npart0part1part2"));
  RawClient head = client();
  head.send_bytes("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = head.read_to_end();
  EXPECT_NE(answer.find("Content-Length: 8\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, RefusesMalformedRequestsAndLivesOn) {
  HttpLimits limits;
  limits.body_bytes = 1000;
  start(limits);
  struct Case {
    std::string bytes;
    int status;
  };
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\n";
  const Case cases[] = {
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls\r\n\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/3.7\r\nHost: x\r\n\r\n", 505},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400},
      {std::string("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 35), 400},
      {"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: x\r\n" + std::string(40'000, 'a') + ": b\r\n\r\n", 431},
      {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {post + "Content-Length: -1\r\n\r\n", 400},
      {post + "Content-Length: 0x10\r\n\r\n", 400},
      {post + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
      {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400},
      {post + "Content-Length: 1001\r\n\r\n", 413},
      {post + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') + "\r\n", 413},
      {post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
      {post + "Expect: magic\r\nContent-Length: 1\r\n\r\nx", 417},
  };
  for (const Case& c : cases) {
    RawClient raw = client();
    raw.send_bytes(c.bytes);
    const std::string answer = raw.read_to_end();
    EXPECT_EQ(status_of(answer), c.status) << c.bytes.substr(0, 120) << "\n" << answer;
    EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  }
  EXPECT_TRUE(ask("\r\n\r\nGET /ok HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("GET /ok "));
}

TEST_F(HttpServerTest, AHalfClosedClientGetsItsAnswer) {
  start();
  RawClient raw = client();
  raw.send_bytes("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  raw.finish_sending();
  EXPECT_TRUE(raw.read_to_end().ends_with("GET /a "));
}

TEST_F(HttpServerTest, NoticesClientsThatLeave) {
  start();
  RawClient leaves = client(), resets = client();
  for (RawClient* raw : {&leaves, &resets})
    raw->send_bytes("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_held(2));
  leaves.close_now();
  ASSERT_TRUE(wait_closes(1));
  resets.reset();
  ASSERT_TRUE(wait_closes(2));
  EXPECT_EQ(closes_[0], CloseReason::client_gone);
}

TEST_F(HttpServerTest, DropsClientsThatNeverReadOrNeverSend) {
  HttpLimits limits;
  limits.write_timeout_ms = 50;
  limits.header_timeout_ms = 50;
  limits.body_timeout_ms = 50;
  limits.write_pause_bytes = 16u << 20;
  limits.write_drop_bytes = 64u << 20;
  start(limits);
  RawClient never_reads(server_->port(), 4096);
  never_reads.send_bytes("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(wait_closes(1));
  RawClient silent = client(), half_header = client(), half_body = client();
  half_header.send_bytes("GET / HTTP/1.1\r\nHost:");
  half_body.send_bytes("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
  EXPECT_TRUE(silent.closed_by_server());
  EXPECT_TRUE(half_header.closed_by_server());
  EXPECT_TRUE(half_body.closed_by_server());
}

TEST_F(HttpServerTest, ASlowStreamIsBounded) {
  HttpLimits limits;
  limits.write_pause_bytes = 1u << 30;
  limits.write_drop_bytes = 1u << 20;
  start(limits);
  RawClient raw(server_->port(), 4096);
  raw.send_bytes("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  raw.read_until("\r\n\r\n");
  EXPECT_TRUE(raw.closed_by_server());
}

TEST_F(HttpServerTest, TurnsAwayWhatIsTooMuch) {
  HttpLimits limits;
  limits.max_connections = 2;
  limits.all_bodies_bytes = 100;
  start(limits);
  RawClient a = client(), b = client();
  a.send_bytes("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  b.send_bytes("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_held(2));
  EXPECT_EQ(status_of(client().read_to_end()), 503);
  b.close_now();
  ASSERT_TRUE(wait_closes(1));
  EXPECT_EQ(status_of(ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n" +
                          std::string(200, 'x'))),
            503);
}

TEST_F(HttpServerTest, StopTellsThoseWhoWait) {
  start();
  RawClient waits = client(), idle = client();
  waits.send_bytes("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_held(1));
  server_->stop(0);
  EXPECT_EQ(status_of(waits.read_to_end()), 503);
  EXPECT_TRUE(idle.closed_by_server());
  EXPECT_FALSE(RawClient(server_->port()).connected());
}

TEST_F(HttpServerTest, APortThatIsTakenIsAClearError) {
  start();
  HttpServerOptions options;
  options.port = server_->port();
  const auto second = HttpServer::start(options, [](std::shared_ptr<HttpExchange>) {});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::already_exists);
  options.port = 0;
  options.host = "example.org";
  EXPECT_EQ(HttpServer::start(options, {}).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace exo
