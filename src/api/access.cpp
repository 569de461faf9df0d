#include "api/access.h"

#include <algorithm>

namespace exo {
namespace {

struct HostPort {
  std::string host;  // lower case, without brackets and trailing dot
  std::string port;  // "" when absent
};

std::optional<HostPort> split_host(std::string_view text) {
  HostPort out;
  std::string_view rest;
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    out.host = lower_case(text.substr(1, end - 1));
    rest = text.substr(end + 1);
  } else {
    const size_t colon = text.find(':');
    out.host = lower_case(text.substr(0, colon));
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (!rest.empty()) {
    if (rest.front() != ':') return std::nullopt;
    out.port = std::string(rest.substr(1));
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (!std::all_of(out.port.begin(), out.port.end(), is_digit)) return std::nullopt;
  }
  if (!out.host.empty() && out.host.back() == '.') out.host.pop_back();
  if (out.host.empty()) return std::nullopt;
  return out;
}

bool listed(std::string_view name, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& entry) { return equals_ignoring_case(name, entry); });
}

bool same_secret(std::string_view given, std::string_view wanted) {
  unsigned difference = given.size() == wanted.size() ? 0 : 1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const char c = i < given.size() ? given[i] : '\0';
    difference |= static_cast<unsigned char>(c) ^ static_cast<unsigned char>(wanted[i]);
  }
  return difference == 0;
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  if (!host.starts_with("127.")) return false;
  return std::all_of(host.begin(), host.end(),
                     [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool host_allowed(const HttpRequest& request, const AccessOptions& options) {
  const auto header = request.header("host");
  if (!header) return request.http_1_0;  // no browser speaks HTTP/1.0
  const auto host = split_host(*header);
  if (!host) return false;
  if (is_loopback_host(host->host) || host->host == request.local_address) return true;
  if (host->host.ends_with(".local") || listed(host->host, options.hosts)) return true;
  if (options.host_name.empty()) return false;
  const std::string own = lower_case(options.host_name);
  return host->host == own || host->host == own.substr(0, own.find('.'));
}

OriginVerdict judge_origin(const HttpRequest& request, const AccessOptions& options) {
  const auto origin = request.header("origin");
  if (!origin) return OriginVerdict::absent;
  if (listed(*origin, options.origins)) return OriginVerdict::allowed;
  const size_t scheme_end = origin->find("://");
  const auto host_header = request.header("host");
  if (scheme_end == std::string_view::npos || !host_header) return OriginVerdict::foreign;
  const std::string_view scheme = origin->substr(0, scheme_end);
  if (scheme != "http" && scheme != "https") return OriginVerdict::foreign;
  const std::string_view authority = origin->substr(scheme_end + 3);
  if (equals_ignoring_case(authority, *host_header)) return OriginVerdict::allowed;
  // localhost, 127.0.0.1 and [::1] with the same port are one place.
  const auto theirs = split_host(authority);
  const auto ours = split_host(*host_header);
  const bool same_place = theirs && ours && is_loopback_host(theirs->host) &&
                          is_loopback_host(ours->host) && theirs->port == ours->port;
  return same_place ? OriginVerdict::allowed : OriginVerdict::foreign;
}

bool is_form_content(const HttpRequest& request) {
  const auto header = request.header("content-type");
  if (!header) return false;
  std::string type = lower_case(header->substr(0, header->find(';')));
  type.erase(type.find_last_not_of(" \t") + 1);
  return type == "text/plain" || type == "application/x-www-form-urlencoded" ||
         type == "multipart/form-data";
}

bool key_accepted(const HttpRequest& request, const AccessOptions& options) {
  if (options.api_keys.empty()) return true;
  std::string_view given;
  const auto authorization = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (authorization && authorization->size() > kBearer.size() &&
      equals_ignoring_case(authorization->substr(0, kBearer.size()), kBearer))
    given = authorization->substr(kBearer.size());
  else if (const auto key = request.header("x-api-key"))
    given = *key;
  bool accepted = false;
  for (const std::string& key : options.api_keys) accepted |= same_secret(given, key);
  return accepted;
}

}  // namespace exo
