// Who may talk to the API: pure checks of Host, Origin, Content-Type and key, made on every route.
// They keep web pages of other sites out (DNS rebinding, cross-site requests), whatever the
// network.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http_message.h"

namespace exo {

struct AccessOptions {
  std::vector<std::string> hosts;     // further names this server may be called by
  std::vector<std::string> origins;   // further origins whose pages may call it
  std::string host_name;              // of this machine
  std::vector<std::string> api_keys;  // empty = no key is asked for
};

// Loopback names, the address the client dialled, this machine's name, *.local, and `hosts`.
bool host_allowed(const HttpRequest& request, const AccessOptions& options);

enum class OriginVerdict { absent, allowed, foreign };
OriginVerdict judge_origin(const HttpRequest& request, const AccessOptions& options);

// True for bodies a page of another site can send without asking first.
bool is_form_content(const HttpRequest& request);

// Authorization: Bearer, or x-api-key; compared in constant time.
bool key_accepted(const HttpRequest& request, const AccessOptions& options);

bool is_loopback_host(std::string_view host);

}  // namespace exo
