#include "api/web_assets.h"

#include <gtest/gtest.h>

#include <array>

namespace exo {
namespace {

const std::array<WebAsset, 2> kAssets = {{
    {"/index.html", "text/html; charset=utf-8", "\"e1\"", false, "<html>", ""},
    {"/assets/app-1a2b3c4d.js", "text/javascript", "\"e2\"", true, "plain", "zipped"},
}};

HttpRequest get(const std::string& path, HttpHeaders headers = {}) {
  HttpRequest request;
  request.method = "GET";
  request.path = path;
  request.headers = std::move(headers);
  return request;
}
std::string header(const HttpResponse& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

TEST(WebAssets, ServesFilesWithCachingAndPolicy) {
  const auto page = serve_asset(kAssets, get("/"));
  EXPECT_EQ(page->body, "<html>");
  EXPECT_EQ(header(*page, "Cache-Control"), "no-cache");
  EXPECT_NE(header(*page, "Content-Security-Policy").find("script-src 'self'"), std::string::npos);
  const auto script = serve_asset(kAssets, get("/assets/app-1a2b3c4d.js"));
  EXPECT_EQ(script->body, "plain");
  EXPECT_NE(header(*script, "Cache-Control").find("immutable"), std::string::npos);
  const auto zipped =
      serve_asset(kAssets, get("/assets/app-1a2b3c4d.js", {{"accept-encoding", "gzip, br"}}));
  EXPECT_EQ(zipped->body, "zipped");
  EXPECT_EQ(header(*zipped, "Content-Encoding"), "gzip");
  EXPECT_EQ(serve_asset(kAssets, get("/", {{"if-none-match", "\"e1\""}}))->status, 304);
  EXPECT_FALSE(serve_asset(kAssets, get("/assets/../index.html")));
}

TEST(WebAssets, ThePageAnswersForItsOwnRoutes) {
  EXPECT_EQ(serve_page(kAssets, get("/chat/1", {{"accept", "text/html,*/*"}}))->body, "<html>");
  EXPECT_FALSE(serve_page(kAssets, get("/chat/1", {{"accept", "application/json"}})));
  EXPECT_FALSE(serve_page(kAssets, get("/chat/1")));
}

TEST(WebAssets, ABuildWithoutThePageSaysSo) {
  EXPECT_EQ(serve_asset({}, get("/"))->status, 200);
  EXPECT_FALSE(serve_page({}, get("/x", {{"accept", "text/html"}})));
}

}  // namespace
}  // namespace exo
