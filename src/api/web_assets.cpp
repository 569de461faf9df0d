#include "api/web_assets.h"

#include <array>

namespace exo {

// Written by cmake/EmbedWeb.cmake: the declarations of the embedded bytes and kEntries.
#include "web_assets_table.inc"

namespace {

HttpResponse answer(const WebAsset& asset, const HttpRequest& request) {
  HttpResponse response{200, std::string(asset.mime), "", {}};
  response.headers = {
      {"ETag", std::string(asset.etag)},
      {"Cache-Control", asset.immutable ? "public, max-age=31536000, immutable" : "no-cache"},
      {"Vary", "Accept-Encoding"},
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
       "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
       "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
      {"X-Frame-Options", "DENY"},
      {"Cross-Origin-Opener-Policy", "same-origin"}};
  const auto known = request.header("if-none-match");
  if (known && known->find(asset.etag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  const auto encodings = request.header("accept-encoding");
  if (!asset.gzip.empty() && encodings && encodings->find("gzip") != std::string_view::npos) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = asset.gzip;
  } else {
    response.body = asset.bytes;
  }
  return response;
}

}  // namespace

std::span<const WebAsset> web_assets() { return {kEntries.data(), kEntries.size()}; }

std::optional<HttpResponse> serve_asset(std::span<const WebAsset> assets,
                                        const HttpRequest& request) {
  const std::string_view path =
      request.path == "/" ? "/index.html" : std::string_view(request.path);
  for (const WebAsset& asset : assets)
    if (asset.path == path) return answer(asset, request);
  if (path == "/index.html")
    return HttpResponse{200,
                        "text/plain; charset=utf-8",
                        "exo is running. This build has no web page; the API is under /v1.\n",
                        {}};
  return std::nullopt;
}

std::optional<HttpResponse> serve_page(std::span<const WebAsset> assets,
                                       const HttpRequest& request) {
  const auto accept = request.header("accept");
  if (!accept || accept->find("text/html") == std::string_view::npos) return std::nullopt;
  for (const WebAsset& asset : assets)
    if (asset.path == "/index.html") return answer(asset, request);
  return std::nullopt;
}

}  // namespace exo
