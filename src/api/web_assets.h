// The web page, embedded in the binary at build time from web/dist (empty when it was not built).
// Immutable, thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "api/http_message.h"

namespace exo {

struct WebAsset {
  std::string_view path;  // "/assets/index-abc123.js"
  std::string_view mime;
  std::string_view etag;   // quoted, from the content's SHA-256
  bool immutable = false;  // the name holds a hash of the content
  std::string_view bytes;
  std::string_view gzip;  // the same compressed, empty when there is none
};

std::span<const WebAsset> web_assets();

// Nothing when no file of that name exists. "/" is /index.html.
std::optional<HttpResponse> serve_asset(std::span<const WebAsset> assets,
                                        const HttpRequest& request);
// Answered for pages the router inside the page knows: GET with Accept: text/html.
std::optional<HttpResponse> serve_page(std::span<const WebAsset> assets,
                                       const HttpRequest& request);

}  // namespace exo
