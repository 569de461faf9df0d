// ApiClient: the commands' side of a node's HTTP API (libcurl). Blocking; one thread at a time. A
// stream ends early when the flag `stop`, which any thread or signal handler may set, becomes true.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/json.h"

namespace exo {

class ApiClient {
 public:
  ApiClient(std::string base_url, std::string api_key);

  Result<Json> get(std::string_view path, int timeout_ms = 10'000) const;
  Result<Json> post(std::string_view path, const Json& body, int timeout_ms = 600'000) const;
  Result<Json> remove(std::string_view path) const;  // DELETE
  // Server-sent events: `on_data` gets each data line, `on_comment` each comment; returns when the
  // stream ends or *stop becomes true.
  struct StreamHandlers {
    std::function<void(std::string_view)> on_data;
    std::function<void(std::string_view)> on_comment;
    const std::atomic<bool>* stop = nullptr;
  };
  Result<void> post_stream(std::string_view path, const Json& body,
                           const StreamHandlers& handlers) const;

  const std::string& base_url() const { return base_url_; }

 private:
  std::string base_url_;
  std::string api_key_;
};

// The node that runs on this device: $EXO_API_PORT, else those that left a note in the config
// folder, else port 52415. Unavailable, saying how to start one, when none answers.
Result<ApiClient> find_local_node();

// The note a running node leaves for commands on the same device; removed when it is destroyed.
class RunningNote {
 public:
  static Result<RunningNote> write(int api_port, const std::string& api_key);
  RunningNote(RunningNote&& other) noexcept;
  ~RunningNote();

 private:
  explicit RunningNote(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace exo
