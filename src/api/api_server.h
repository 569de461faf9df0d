// ApiServer: the HTTP API and the web page in front of one Node, which must outlive it. Loopback by
// default; another host needs an API key. start() fails with already_exists when the port is taken:
// the caller can ask GET /health there whether "service" is "exo". All calls are thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "orchestration/node.h"

namespace exo {

struct ApiOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 52415;                     // 0 = any free one
  std::vector<std::string> api_keys;         // at least one unless `host` is a loopback address
  std::vector<std::string> allowed_hosts;    // further values of Host, without port
  std::vector<std::string> allowed_origins;  // further pages, "https://example.org"
};

class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> start(Node& node, ApiOptions options);
  ~ApiServer();  // stop(0)
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Answers in progress may finish for grace_ms; then their streams end with an error event.
  void stop(int grace_ms);
  uint16_t port() const;

 private:
  struct State;
  explicit ApiServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace exo
