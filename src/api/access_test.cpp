#include "api/access.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

HttpRequest request(HttpHeaders headers, std::string local = "192.168.1.5") {
  HttpRequest out;
  out.headers = std::move(headers);
  out.local_address = std::move(local);
  return out;
}

TEST(Access, Hosts) {
  AccessOptions options;
  options.host_name = "Desk.lan";
  options.hosts = {"exo.example.org"};
  for (const char* host : {"localhost", "localhost:52415", "LOCALHOST.", "127.0.0.1:1", "127.8.9.1",
                           "[::1]:80", "a.localhost", "192.168.1.5:52415", "desk", "desk.lan:1",
                           "laptop.local", "exo.example.org"})
    EXPECT_TRUE(host_allowed(request({{"host", host}}), options)) << host;
  for (const char* host :
       {"evil.com", "", ":80", "192.168.1.6", "127.0.0.1.evil.com", "localhost.evil.com", "[::1",
        "[::1]x", "localhost:8x", "desk.evil", "local"})
    EXPECT_FALSE(host_allowed(request({{"host", host}}), options)) << host;
  EXPECT_FALSE(host_allowed(request({}), options));
}

TEST(Access, Origins) {
  AccessOptions options;
  options.origins = {"https://ui.example.org"};
  const auto judge = [&](const char* origin, const char* host = "localhost:52415") {
    return judge_origin(request({{"host", host}, {"origin", origin}}), options);
  };
  EXPECT_EQ(judge_origin(request({{"host", "localhost"}}), options), OriginVerdict::absent);
  for (const char* origin :
       {"http://localhost:52415", "https://localhost:52415", "http://127.0.0.1:52415",
        "http://[::1]:52415", "https://ui.example.org"})
    EXPECT_EQ(judge(origin), OriginVerdict::allowed) << origin;
  for (const char* origin : {"null", "http://evil.com", "http://localhost:3000", "http://localhost",
                             "file://localhost:52415", "http://laptop.local:52415", ""})
    EXPECT_EQ(judge(origin), OriginVerdict::foreign) << origin;
  EXPECT_EQ(judge("http://desk.local:52415", "desk.local:52415"), OriginVerdict::allowed);
}

TEST(Access, Forms) {
  for (const char* type : {"text/plain", "Text/Plain ; charset=utf-8",
                           "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"})
    EXPECT_TRUE(is_form_content(request({{"content-type", type}}))) << type;
  EXPECT_FALSE(is_form_content(request({{"content-type", "application/json"}})));
  EXPECT_FALSE(is_form_content(request({})));
}

TEST(Access, Keys) {
  AccessOptions options;
  EXPECT_TRUE(key_accepted(request({}), options));
  options.api_keys = {"secret", "other"};
  EXPECT_TRUE(key_accepted(request({{"authorization", "Bearer secret"}}), options));
  EXPECT_TRUE(key_accepted(request({{"authorization", "bearer other"}}), options));
  EXPECT_TRUE(key_accepted(request({{"x-api-key", "secret"}}), options));
  for (const char* value :
       {"Bearer secre", "Bearer secrets", "secret", "Bearer ", "Basic secret", ""})
    EXPECT_FALSE(key_accepted(request({{"authorization", value}}), options)) << value;
  EXPECT_FALSE(key_accepted(request({}), options));
}

TEST(HttpMessage, Targets) {
  EXPECT_EQ(parse_target("//v1//models/?x=1")->path, "/v1/models");
  EXPECT_EQ(parse_target("/a?x=1&y=%00")->query, "x=1&y=%00");
  EXPECT_EQ(parse_target("/models/org%2Fm%3A8b")->path, "/models/org/m:8b");
  EXPECT_EQ(parse_target("HTTP://h:1/p")->path, "/p");
  EXPECT_EQ(parse_target("http://h")->path, "/");
  EXPECT_EQ(parse_target("/")->path, "/");
  for (const char* bad : {"", "x", "/%", "/%0", "/%zz", "/%00", "/a%0ab", "?"})
    EXPECT_FALSE(parse_target(bad)) << bad;
}

TEST(HttpMessage, Queries) {
  EXPECT_EQ(query_value("x=2&all=1", "all"), "1");
  EXPECT_EQ(query_value("a%6cl=%31&all=2", "all"), "1");
  EXPECT_EQ(query_value("all&x=", "all"), "");
  EXPECT_EQ(query_value("x=&all", "all"), "");
  EXPECT_EQ(query_value("x=all", "all"), std::nullopt);
  EXPECT_EQ(query_value("", "all"), std::nullopt);
  EXPECT_EQ(query_value("all=%zz", "all"), std::nullopt);
}

}  // namespace
}  // namespace exo
