// A TCP client for tests that says exactly the bytes it is told. Reads give up after 10 s, so that
// a server that hangs fails the test instead of stopping it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#ifndef MSG_NOSIGNAL  // macOS has a socket option instead
#define MSG_NOSIGNAL 0
#endif

namespace exo {

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    const timeval timeout{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
#ifdef SO_NOSIGPIPE
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
    if (receive_buffer_bytes > 0)
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  RawClient(RawClient&& other) noexcept
      : fd_(other.fd_), connected_(other.connected_), seen_(std::move(other.seen_)) {
    other.fd_ = -1;
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close_now(); }

  bool connected() const { return connected_; }
  bool send_bytes(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  void finish_sending() { shutdown(fd_, SHUT_WR); }
  void close_now() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {  // RST instead of FIN
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close_now();
  }

  // Everything up to and including `end`; what came so far if the server closes before.
  std::string read_until(std::string_view end) {
    size_t found = seen_.find(end);
    while (found == std::string::npos && read_some()) found = seen_.find(end);
    const size_t length = found == std::string::npos ? seen_.size() : found + end.size();
    std::string out = seen_.substr(0, length);
    seen_.erase(0, length);
    return out;
  }
  std::string read_to_end() {
    while (read_some()) {
    }
    return std::move(seen_);
  }
  // True when the server has closed, or reset, the connection.
  bool closed_by_server() {
    while (read_some()) {
    }
    return closed_;
  }
  // One response with a Content-Length.
  std::string read_response() {
    std::string out = read_until("\r\n\r\n");
    const size_t at = out.find("Content-Length: ");
    size_t length = at == std::string::npos ? 0 : std::stoul(out.substr(at + 16));
    while (seen_.size() < length && read_some()) {
    }
    length = std::min(length, seen_.size());
    out += seen_.substr(0, length);
    seen_.erase(0, length);
    return out;
  }

 private:
  bool read_some() {
    char buffer[16384];
    const ssize_t count = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (count > 0) seen_.append(buffer, static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) closed_ = true;
    return count > 0;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool closed_ = false;
  std::string seen_;
};

// The status code at the start of a response, 0 when there is none.
inline int status_of(const std::string& response) {
  return response.size() > 12 && response.starts_with("HTTP/1.1 ")
             ? std::stoi(response.substr(9, 3))
             : 0;
}

}  // namespace exo
