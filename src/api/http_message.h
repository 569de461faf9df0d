// One HTTP request as a handler sees it, and one answer. Plain values. The server has checked
// framing and sizes; names of headers are lower-case, the path is percent-decoded, without doubled
// or trailing slashes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace exo {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET", as sent
  std::string target;  // as sent
  std::string path;
  std::string query;  // after '?', not decoded
  HttpHeaders headers;
  std::string body;
  std::string local_address;     // of this connection, numeric: what the client dialled
  bool remote_loopback = false;  // the client is on this machine
  bool http_1_0 = false;

  std::optional<std::string_view> header(std::string_view lower_case_name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpHeaders headers;  // further ones
};

std::string_view status_phrase(int status);
bool equals_ignoring_case(std::string_view a, std::string_view b);
std::string lower_case(std::string_view text);

// Splits and decodes a request target ("/v1//models/a%2Fb?x=1", or absolute form) into path and
// query. Nothing when it is malformed: no leading '/', a broken escape, a NUL or control byte.
struct HttpTarget {
  std::string path;
  std::string query;
};
std::optional<HttpTarget> parse_target(std::string_view target);
// Of "a=1&b=x%20y": what `key` is, decoded; "" where it has no value. The first one counts.
std::optional<std::string> query_value(std::string_view query, std::string_view key);

}  // namespace exo
