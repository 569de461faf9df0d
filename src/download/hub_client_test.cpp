#include "download/hub_client.h"

#include <gtest/gtest.h>

#include <array>

namespace exo {
namespace {

std::string said(const std::string& token, int status, const std::string& reason = "") {
  HubOptions options;
  options.token = token;
  HttpAnswer answer;
  answer.status = status;
  if (!reason.empty()) answer.headers["x-error-code"] = reason;
  const auto refused = HubClient(options).refusal("org/name", answer);
  return refused ? std::string(to_string(refused->code)) + ": " + refused->message : "";
}

TEST(HubClientTest, EveryRefusalSaysTheNextStep) {
  const std::string hub = "https://huggingface.co";
  EXPECT_EQ(said("", 200), "");
  EXPECT_EQ(said("", 206), "");
  EXPECT_EQ(said("", 401, "GatedRepo"),
            "permission_denied: org/name is gated: accept its terms at " + hub +
                "/org/name, then set HF_TOKEN to your token");
  EXPECT_EQ(said("t", 403, "GatedRepo"),
            "permission_denied: org/name is gated and your token was not let in: accept its terms "
            "at " +
                hub + "/org/name");
  EXPECT_EQ(said("", 401, "RepoNotFound"), "not_found: " + hub +
                                               " has no model org/name, or it is private: check "
                                               "the name, or set HF_TOKEN");
  EXPECT_EQ(said("t", 401), "permission_denied: " + hub +
                                " does not accept your token for org/name: check HF_TOKEN and the "
                                "model's name");
  EXPECT_EQ(said("t", 404, "RepoNotFound"),
            "not_found: " + hub + " has no model org/name: check the name");
  EXPECT_EQ(said("", 404, "RevisionNotFound"),
            "not_found: org/name has no such revision; see " + hub + "/org/name");
  EXPECT_EQ(said("", 404, "EntryNotFound"),
            "not_found: org/name has no such file; see " + hub + "/org/name");
  EXPECT_EQ(said("", 416), "corrupt: a file of org/name is shorter now than the hub said");
  EXPECT_EQ(said("", 429), "unavailable: " + hub +
                               " asks to wait: too many requests from this address; try again in "
                               "some minutes, or set HF_TOKEN");
  EXPECT_EQ(said("", 502), "unavailable: " + hub + " answers 502 for org/name; try again later");
}

TEST(HubClientTest, TriesAgainOnlyWhatMayWorkLater) {
  const auto again = [](int status) {
    HttpAnswer answer;
    answer.status = status;
    return HubClient::may_try_again(answer);
  };
  for (const int status : {408, 429, 500, 502, 503, 504}) EXPECT_TRUE(again(status)) << status;
  for (const int status : {200, 206, 400, 401, 403, 404, 416}) EXPECT_FALSE(again(status));
  EXPECT_TRUE(HubClient::may_try_again(unavailable("the network is gone")));
  EXPECT_FALSE(HubClient::may_try_again(corrupt("redirects in circles")));
}

TEST(HubClientTest, PausesGrowWithJitterAndObeyTheHub) {
  const HubClient hub({});
  const Result<HttpAnswer> gone(unavailable("gone"));
  bool differ = false;
  for (int attempt = 1; attempt <= 40; ++attempt) {
    const int longest = attempt > 6 ? 30'000 : 500 << (attempt - 1);
    const int pause = hub.pause_ms(attempt, gone);
    EXPECT_GE(pause, longest / 2) << attempt;
    EXPECT_LE(pause, longest) << attempt;
    differ |= pause != hub.pause_ms(attempt, gone);
  }
  EXPECT_TRUE(differ) << "no jitter: all nodes would come back at once";
  HttpAnswer busy;
  busy.status = 429;
  for (const auto& [asked, pause] : {std::pair("7", 7000), {"0", 0}, {"99999", 300'000}}) {
    busy.headers["retry-after"] = asked;
    EXPECT_EQ(hub.pause_ms(1, busy), pause);
  }
  busy.headers["retry-after"] = "Wed, 21 Oct 2026 07:28:00 GMT";
  EXPECT_LE(hub.pause_ms(1, busy), 500);
}

TEST(HubClientTest, TheTokenGoesToTheHubsOwnAddressesOnly) {
  HubOptions options;
  options.endpoint = "https://hub.example";
  options.token = "secret";
  const HttpGet get = HubClient(options).get_file("org/name", "c0ffee", "a b/ü.gguf");
  EXPECT_EQ(get.url, "https://hub.example/org/name/resolve/c0ffee/a%20b/%C3%BC.gguf");
  EXPECT_EQ(get.bearer, "secret");
}

}  // namespace
}  // namespace exo
