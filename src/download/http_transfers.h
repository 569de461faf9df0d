// HttpTransfers: many HTTP GETs at once in the caller's own thread (libcurl's multi interface). One
// thread uses it, start to end; everything happens inside poll(). What a transfer fails with says
// in a sentence what the network did. Limits: size of bodies and headers, redirects (and only to
// https, unless the request itself was plain http), time to connect, time without progress. Bodies
// come as they are stored (no compression); a bearer token goes to the request's own host only;
// proxies are taken from the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tensor/range_set.h"

namespace exo {

struct HttpAnswer {
  int status = 0;
  // Lower-case names, of the last answer; "x-..." of the first answer that had them.
  std::map<std::string, std::string, std::less<>> headers;
  std::string body;  // without a sink; of failures the first bytes

  std::string header(std::string_view name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

struct HttpGet {
  std::string url;
  bool head = false;  // HEAD, and redirects to another place are not followed
  std::string bearer;
  std::optional<ByteRange> range;
  std::string if_range;                  // the entity tag `range` belongs to; "" = none
  uint64_t most_body_bytes = 16u << 20;  // of what is collected in HttpAnswer::body
  // Gets a success body piece by piece, with its offset in the file and the answer's status and
  // headers; false ends the transfer.
  std::function<bool(const HttpAnswer& head, uint64_t offset, std::string_view bytes)> sink;
};

struct HttpOptions {
  std::string user_agent = "exo";
  int connect_timeout_ms = 10'000;
  int stall_timeout_s = 30;  // less than 1 kB/s for so long is a broken connection
  int most_redirects = 8;
  int most_connections_per_host = 16;
};

class HttpTransfers {
 public:
  // A finished answer of any status, or `unavailable` for what may work later.
  using Done = std::function<void(Result<HttpAnswer>)>;

  explicit HttpTransfers(HttpOptions options);
  ~HttpTransfers();  // ends what still runs, without calling back
  HttpTransfers(const HttpTransfers&) = delete;
  HttpTransfers& operator=(const HttpTransfers&) = delete;

  void start(HttpGet get, Done done);  // `done` may start further ones
  // Moves what there is to move; waits for it where there is nothing, but no longer than so. How
  // long it waited, in microseconds.
  int64_t poll(int timeout_ms);
  size_t running() const;
  // One transfer, waited for; others run on. Ends early with `cancelled` once stop() is true.
  Result<HttpAnswer> fetch(HttpGet get, const std::function<bool()>& stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace exo
