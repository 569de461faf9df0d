#include "api/api_server.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <list>
#include <set>

#include "core/json.h"
#include "fake_node.h"
#include "raw_client.h"

namespace exo {
namespace {

std::string post(const std::string& path, const std::string& body,
                 const std::string& headers = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{}"
      "Content-Length: {}\r\n\r\n{}",
      path, headers, body.size(), body);
}
std::string get(const std::string& path, const std::string& headers = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, headers);
}
std::string chat(const std::string& prompt, const std::string& fields = "") {
  return post(
      "/v1/chat/completions",
      fmt::format(R"({{"messages":[{{"role":"user","content":"{}"}}],"temperature":0{}{}}})",
                  prompt, fields.empty() ? "" : ",", fields));
}
std::string body_of(const std::string& response) {
  return response.substr(std::min(response.size(), response.find("\r\n\r\n") + 4));
}
Json json_of(const std::string& response) {
  auto parsed = parse_json(body_of(response));
  EXPECT_TRUE(parsed.ok()) << response;
  return parsed.ok() ? *parsed : Json(nullptr);
}

// The payload of a chunked response, and its events without "data: ".
std::string unchunk(const std::string& response) {
  std::string rest = body_of(response), out;
  while (!rest.empty()) {
    const size_t size = std::stoul(rest, nullptr, 16);
    const size_t begin = rest.find("\r\n") + 2;
    out += rest.substr(begin, size);
    rest.erase(0, std::min(rest.size(), begin + size + 2));
    if (size == 0) break;
  }
  return out;
}
std::vector<std::string> events_of(const std::string& response) {
  std::vector<std::string> events;
  std::string text = unchunk(response);
  for (size_t end; (end = text.find("\n\n")) != std::string::npos; text.erase(0, end + 2))
    if (text.starts_with("data: ")) events.push_back(text.substr(6, end - 6));
  EXPECT_TRUE(text.empty()) << text;
  return events;
}

class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() { start({}); }
  void start(ApiOptions options) {
    server_.reset();
    options.port = 0;
    server_ = ApiServer::start(node_, options).value();
  }
  std::string ask(const std::string& bytes) {
    RawClient raw(server_->port());
    raw.send_bytes(bytes);
    return raw.read_response();
  }
  std::string stream(const std::string& bytes) {
    RawClient raw(server_->port());
    raw.send_bytes(bytes);
    return raw.read_until("\r\n0\r\n\r\n");
  }

  FakeNode node_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(ApiServerTest, StreamsAsTheContractSays) {
  const std::string response =
      stream(chat("[say:héllo]", R"("stream":true,"stream_options":{"include_usage":true})"));
  for (const char* header : {"HTTP/1.1 200 OK", "Content-Type: text/event-stream",
                             "Cache-Control: no-cache", "X-Accel-Buffering: no"})
    EXPECT_NE(response.find(header), std::string::npos) << header;
  const auto events = events_of(response);
  ASSERT_GE(events.size(), 5u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::set<std::string> ids;
  std::string text;
  int finishes = 0;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json chunk = *parse_json(events[i]);
    ids.insert(to_text(chunk.at("id")) + to_text(chunk.at("created")) + to_text(chunk.at("model")) +
               to_text(chunk.at("system_fingerprint")));
    EXPECT_EQ(chunk.at("object"), "chat.completion.chunk");
    if (i + 2 == events.size()) {
      EXPECT_TRUE(chunk.at("choices").as_array().empty());
      EXPECT_EQ(chunk.at("usage").at("completion_tokens"), 7);  // six bytes and the end
      continue;
    }
    const Json& choice = chunk.at("choices").at(0);
    if (i == 0) {
      EXPECT_EQ(to_text(choice.at("delta")), R"({"role":"assistant","content":""})");
    }
    if (choice.at("delta").as_object().contains("content"))
      text += choice.at("delta").at("content").as_string();
    if (choice.at("finish_reason").is_null()) continue;
    ++finishes;
    EXPECT_EQ(choice.at("finish_reason"), "stop");
    EXPECT_EQ(to_text(choice.at("delta")), "{}");
    EXPECT_TRUE(chunk.as_object().contains("timings"));
  }
  EXPECT_EQ(text, "héllo");
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(finishes, 1);
}

constexpr const char* kThinkAndCall =
    R"([say:<think>hm</think>Wait.<tool_call>{\"name\":\"f\",\"arguments\":{\"x\": 1.50}}</tool_call>)"
    R"(<tool_call>{\"name\":\"g\"}</tool_call>])";
constexpr const char* kTools = R"("tools":[{"type":"function","function":{"name":"f"}}])";

TEST_F(ApiServerTest, ThinkingAndToolCalls) {
  const Json body = json_of(ask(chat(kThinkAndCall, kTools)));
  const Json& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_EQ(choice.at("message").at("content"), "Wait.");
  EXPECT_EQ(choice.at("message").at("reasoning_content"), "hm");
  const JsonArray& calls = choice.at("message").at("tool_calls").as_array();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].at("type"), "function");
  EXPECT_EQ(to_text(calls[0].at("function")), R"({"name":"f","arguments":"{\"x\": 1.50}"})");
  EXPECT_EQ(calls[1].at("function").at("arguments"), "{}");
  EXPECT_NE(calls[0].at("id"), calls[1].at("id"));
  EXPECT_EQ(calls[0].at("id").as_string().size(), 29u);
  const Json one =
      json_of(ask(chat(kThinkAndCall, std::string(kTools) + R"(,"parallel_tool_calls":false)")));
  EXPECT_EQ(one.at("choices").at(0).at("message").at("tool_calls").as_array().size(), 1u);
  EXPECT_EQ(one.at("choices").at(0).at("finish_reason"), "tool_calls");
  const Json none = json_of(ask(chat(kThinkAndCall)));
  EXPECT_EQ(none.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_TRUE(std::string_view(none.at("choices").at(0).at("message").at("content").as_string())
                  .starts_with("Wait.<tool_call>"));
}

TEST_F(ApiServerTest, StreamsThinkingAndToolCalls) {
  const auto events =
      events_of(stream(chat(kThinkAndCall, std::string(kTools) + R"(,"stream":true)")));
  std::string reasoning, text, finish;
  JsonArray calls;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json chunk = *parse_json(events[i]);
    const Json& choice = chunk.at("choices").at(0);
    const JsonObject& delta = choice.at("delta").as_object();
    if (const Json* part = delta.if_contains("reasoning_content")) reasoning += part->as_string();
    if (const Json* part = delta.if_contains("content")) text += part->as_string();
    if (const Json* part = delta.if_contains("tool_calls"))
      for (const Json& call : part->as_array()) calls.push_back(call);
    if (!choice.at("finish_reason").is_null()) finish += choice.at("finish_reason").as_string();
  }
  EXPECT_EQ(reasoning, "hm");
  EXPECT_EQ(text, "Wait.");
  EXPECT_EQ(finish, "tool_calls");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1].at("index"), 1);
  EXPECT_EQ(calls[1].at("type"), "function");
  EXPECT_EQ(calls[0].at("function").at("arguments"), R"({"x": 1.50})");
}

TEST_F(ApiServerTest, AnswersAsOneBody) {
  const Json reply = json_of(ask(chat("[say:hello world]", R"("stop":" wor")")));
  EXPECT_EQ(reply.at("object"), "chat.completion");
  EXPECT_EQ(reply.at("model"), "fake");
  EXPECT_EQ(reply.at("choices").at(0).at("message").at("content"), "hello");
  EXPECT_EQ(reply.at("choices").at(0).at("finish_reason"), "stop");
  const Json cut = json_of(ask(chat("[say:hello]", R"("max_tokens":2,"n":2)")));
  EXPECT_EQ(cut.at("choices").as_array().size(), 2u);
  EXPECT_EQ(cut.at("choices").at(1).at("message").at("content"), "he");
  EXPECT_EQ(cut.at("choices").at(1).at("finish_reason"), "length");
  EXPECT_EQ(cut.at("usage").at("completion_tokens"), 4);
  EXPECT_EQ(cut.at("usage").at("prompt_tokens").as_int64(),
            static_cast<int64_t>(std::string("<user>[say:hello]\n").size()));
}

TEST_F(ApiServerTest, LogprobsLeaveOutTheEndOfSequence) {
  const Json reply = json_of(ask(chat("[say:ab]", R"("logprobs":true,"top_logprobs":2)")));
  const auto& content = reply.at("choices").at(0).at("logprobs").at("content").as_array();
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[1].at("token"), "b");
  EXPECT_EQ(content[1].at("top_logprobs").as_array().size(), 2u);
  const Json legacy = json_of(
      ask(post("/v1/completions", R"({"prompt":"[say:ab]","logprobs":1,"temperature":0})")));
  EXPECT_EQ(to_text(legacy.at("choices").at(0).at("logprobs").at("tokens")), R"(["a","b"])");
}

TEST_F(ApiServerTest, CompletionsTakePromptsOfAllKinds) {
  const Json two =
      json_of(ask(post("/completions", R"({"prompt":["[say:x]","[say:y]"],"echo":true})")));
  EXPECT_EQ(two.at("object"), "text_completion");
  EXPECT_EQ(two.at("choices").at(0).at("text"), "[say:x]x");
  EXPECT_EQ(two.at("choices").at(1).at("text"), "[say:y]y");
  EXPECT_EQ(two.at("usage").at("prompt_tokens"), 14);
  const Json ids = json_of(ask(post("/v1/completions", R"({"prompt":[91,115,97,121,58,122,93]})")));
  EXPECT_EQ(ids.at("choices").at(0).at("text"), "z");
  EXPECT_EQ(status_of(ask(post("/v1/completions", R"({"prompt":[257]})"))), 400);
}

TEST_F(ApiServerTest, ErrorsBeforeTheFirstTokenAreHttpErrors) {
  struct Case {
    std::string prompt, fields;
    int status;
    std::string code;
  };
  const Case cases[] = {
      {"x", R"("model":"nope")", 404, "\"model_not_found\""},
      {"[fail-start]", "", 429, "\"rate_limit_exceeded\""},
      {"[fail-load]", "", 503, "null"},
      {"[notice][fail-load]", "", 503, "null"},
      {"x", R"("temperature":-1)", 400, "null"},
      {"x", R"("logit_bias":{"300":1})", 400, "null"},
      {std::string(5000, 'x'), "", 400, "\"context_length_exceeded\""},
  };
  for (const Case& c : cases)
    for (const std::string mode : {"false", "true"}) {
      const std::string fields = "\"stream\":" + mode + (c.fields.empty() ? "" : ",") + c.fields;
      const std::string response = ask(chat(c.prompt, fields));
      EXPECT_EQ(status_of(response), c.status) << response;
      const Json error = json_of(response).at("error");
      EXPECT_EQ(error.as_object().size(), 4u);
      EXPECT_EQ(to_text(error.at("code")), c.code) << response;
    }
  EXPECT_NE(ask(chat("[fail-start]")).find("Retry-After: 1\r\n"), std::string::npos);
}

TEST_F(ApiServerTest, PicturesReachModelsThatSee) {
  // Two pixels, red and blue, as a GIF.
  const std::string gif = "R0lGODdhAgABAIEAAP8AAAAA/wAAAAAAACwAAAAAAgABAAAIBQABBAgIADs=";
  const auto look = [&](const std::string& model, const std::string& url) {
    return ask(post("/v1/chat/completions",
                    fmt::format(R"({{"model":"{}","messages":[{{"role":"user","content":[
                      {{"type":"image_url","image_url":{{"url":"{}"}}}},
                      {{"type":"text","text":"What is it?"}}]}}]}})",
                                model, url)));
  };
  EXPECT_EQ(status_of(look("org/other:8b", "data:image/gif;base64," + gif)), 200);
  const GenerationRequest request = node_.last_request();
  ASSERT_EQ(request.images.size(), 1u);
  EXPECT_EQ(request.images[0]->width, 2);  // resized for the model: its size is 2
  EXPECT_EQ(request.images[0]->height, 2);
  EXPECT_EQ(to_text(request.messages.at(0).content),
            R"([{"type":"image"},{"type":"text","text":"What is it?"}])");

  const auto refusal = [&](const std::string& model, const std::string& url) {
    const std::string response = look(model, url);
    EXPECT_EQ(status_of(response), 400);
    const Json error = json_of(response).at("error");
    EXPECT_EQ(error.at("param"), "messages[0].content[0]");
    return std::string(error.at("message").get_string());
  };
  EXPECT_NE(refusal("fake", "data:image/gif;base64," + gif).find("fake takes text only"),
            std::string::npos);
  EXPECT_NE(refusal("org/other:8b", "data:image/gif;base64," + gif.substr(0, 48)).find("cut short"),
            std::string::npos);
  EXPECT_NE(refusal("org/other:8b", "https://example.com/a.png").find("does not fetch"),
            std::string::npos);
}

TEST_F(ApiServerTest, AnErrorInTheMiddleIsAnEventAndTheEnd) {
  const auto events = events_of(stream(chat("[fail-mid]", R"("stream":true)")));
  ASSERT_GE(events.size(), 2u);
  const Json last = *parse_json(events.back());
  EXPECT_EQ(last.at("error").at("type"), "server_error");
  for (const std::string& event : events) EXPECT_EQ(event.find("\"stop\""), std::string::npos);
}

TEST_F(ApiServerTest, NoticesAreComments) {
  const std::string text = unchunk(stream(chat("[notice][say:x]", R"("stream":true)")));
  EXPECT_TRUE(text.starts_with(": loading fake on 2 nodes\n\ndata: {")) << text;
}

TEST_F(ApiServerTest, LeavingCancelsAtOnce) {
  RawClient streaming(server_->port()), whole(server_->port()), stalled(server_->port());
  streaming.send_bytes(chat("[forever]", R"("stream":true)"));
  whole.send_bytes(chat("[stall]"));
  stalled.send_bytes(chat("[stall]", R"("stream":true,"n":3)"));
  ASSERT_TRUE(node_.wait_for_live(5));
  EXPECT_NE(streaming.read_until("content").find("200 OK"), std::string::npos);
  streaming.close_now();
  EXPECT_TRUE(node_.wait_for_live(4));
  whole.close_now();
  EXPECT_TRUE(node_.wait_for_live(3));
  stalled.reset();
  EXPECT_TRUE(node_.wait_for_live(0));
}

TEST_F(ApiServerTest, RoutesForgiveSlashesAndNameWhatIsAllowed) {
  for (const char* path : {"/v1/models", "/models", "/v1/models/", "//v1//models", "/v1/v1/models",
                           "http://localhost/v1/models"})
    EXPECT_EQ(status_of(ask(get(path))), 200) << path;
  for (const char* path : {"/v1/models/org/other:8b", "/v1/models/org%2Fother%3a8b"})
    EXPECT_EQ(json_of(ask(get(path))).at("id"), "org/other:8b") << path;
  for (const char* path :
       {"/v1/models/nope", "/v1/nope", "/v1/models/%2e%2e/x", "/%2e%2e/etc/passwd"}) {
    const std::string response = ask(get(path));
    EXPECT_EQ(status_of(response), 404) << path;
    EXPECT_EQ(json_of(response).at("error").as_object().size(), 4u);
  }
  const std::string wrong = ask(get("/v1/chat/completions"));
  EXPECT_EQ(status_of(wrong), 405);
  EXPECT_NE(wrong.find("Allow: POST, OPTIONS\r\n"), std::string::npos);
  EXPECT_NE(ask(post("/v1/models", "{}")).find("Allow: GET, HEAD, OPTIONS\r\n"), std::string::npos);
  RawClient head(server_->port());
  head.send_bytes("HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(head.read_to_end().ends_with("\r\n\r\n"));
}

TEST_F(ApiServerTest, KeepsOtherSitesOut) {
  const auto with = [&](const std::string& headers) {
    return status_of(ask("GET /health HTTP/1.1\r\n" + headers + "\r\n"));
  };
  EXPECT_EQ(with("Host: localhost:52415\r\n"), 200);
  EXPECT_EQ(with("Host: evil.com\r\n"), 403);
  EXPECT_EQ(with("Host: localhost\r\nOrigin: http://evil.com\r\n"), 403);
  EXPECT_EQ(with("Host: localhost\r\nOrigin: null\r\n"), 403);
  const std::string own =
      ask("GET /health HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n\r\n");
  EXPECT_EQ(status_of(own), 200);
  EXPECT_NE(own.find("Access-Control-Allow-Origin: http://localhost:1\r\n"), std::string::npos);
  const std::string preflight =
      ask("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost:1\r\n"
          "Origin: http://localhost:1\r\nAccess-Control-Request-Headers: authorization\r\n\r\n");
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_NE(preflight.find("Access-Control-Allow-Headers: authorization\r\n"), std::string::npos);
  EXPECT_EQ(ask(get("/health")).find("Access-Control"), std::string::npos);
  for (const char* type :
       {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
    EXPECT_EQ(status_of(ask(fmt::format("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                        "Content-Type: {}\r\nContent-Length: 2\r\n\r\n{{}}",
                                        type))),
              415);
  EXPECT_EQ(status_of(ask(post("/v1/completions", "{}", "Content-Encoding: gzip\r\n"))), 415);
}

TEST_F(ApiServerTest, AsksForTheKeyWhereThereIsOne) {
  EXPECT_EQ(ApiServer::start(node_, {.host = "0.0.0.0", .port = 0}).error().code,
            ErrorCode::invalid_argument);
  start({.host = "0.0.0.0", .api_keys = {"secret"}});
  for (const char* open : {"/health", "/healthcheck", "/livez", "/readyz", "/"})
    EXPECT_EQ(status_of(ask(get(open))), 200) << open;
  for (const char* shut : {"/v1/models", "/v1/topology", "/metrics", "/v1/cluster/events"}) {
    const std::string response = ask(get(shut));
    EXPECT_EQ(status_of(response), 401) << shut;
    EXPECT_EQ(json_of(response).at("error").at("code"), "invalid_api_key");
  }
  EXPECT_EQ(status_of(ask(chat("x"))), 401);
  EXPECT_EQ(status_of(ask(get("/v1/models", "Authorization: Bearer secret\r\n"))), 200);
  EXPECT_EQ(status_of(ask(get("/v1/models", "x-api-key: secret\r\n"))), 200);
}

TEST_F(ApiServerTest, TellsAboutTheCluster) {
  EXPECT_EQ(json_of(ask(get("/health"))).at("service"), "exo");
  EXPECT_EQ(body_of(ask(get("/livez"))), R"({"status":"ok"})");
  const Json topology = json_of(ask(get("/v1/topology")));
  EXPECT_EQ(topology.at("nodes").as_array().size(), 2u);
  EXPECT_EQ(topology.at("nodes").at(0).at("shards").at(0).at("layer_end"), 3);
  EXPECT_EQ(topology.at("links").at(0).at("rtt_us"), 250.0);
  EXPECT_EQ(topology.at("foreign_count"), 1);
  EXPECT_EQ(json_of(ask(post("/v1/cluster/invite", ""))).at("code"), "fake-invite-code");

  RawClient events(server_->port());
  events.send_bytes(get("/v1/cluster/events"));
  EXPECT_NE(events.read_until("\n\n\r\n").find("event: topology\ndata: {"), std::string::npos);
  node_.change_status();
  EXPECT_NE(events.read_until("\n\n\r\n").find("event: topology\ndata: {"), std::string::npos);
}

TEST_F(ApiServerTest, DoesWhatAPersonAsksFor) {
  const Json added = json_of(ask(post("/v1/models/add", R"({"path":"/models/fake"})")));
  EXPECT_EQ(added.at("id"), "fake");
  EXPECT_EQ(json_of(ask(post("/v1/models/load", R"({"model":"fake"})"))).at("loaded"), true);
  EXPECT_EQ(json_of(ask(post("/v1/models/unload", R"({"model":"fake"})"))).at("loaded"), false);
  EXPECT_EQ(json_of(ask(post("/v1/cluster/revoke", R"({"node":"B"})"))).at("revoked"), true);
  for (const char* path :
       {"/v1/models/add", "/v1/models/load", "/v1/models/unload", "/v1/cluster/revoke"}) {
    EXPECT_EQ(status_of(ask(post(path, "[]"))), 400) << path;
    EXPECT_EQ(status_of(ask(post(path, R"({"path":"/x","model":"x","node":"x"})"))), 404) << path;
  }
}

TEST_F(ApiServerTest, CountsWhatItDid) {
  ask(chat("[say:abc]"));
  const std::string text = body_of(ask(get("/metrics")));
  for (const char* line : {"exo_requests_total{route=\"/chat/completions\",code=\"200\"} 1\n",
                           "exo_generations_total{model=\"fake\",finished_reason=\"stop\"} 1\n",
                           "exo_generation_tokens_total 4\n", "exo_requests_running 0\n",
                           "exo_requests_waiting 0\n", "exo_nodes 2\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(ApiServerTest, PassesSamplingOn) {
  ask(chat("x", R"("seed":5,"n":2,"top_k":3,"stop":["q"],"tools":[{"type":"function",)"
                R"("function":{"name":"f"}}])"));
  const GenerationRequest request = node_.last_request();
  EXPECT_EQ(request.sampling.seed, 6u);  // of the second choice
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.stop, std::vector<std::string>{"q"});
  EXPECT_EQ(request.tools.size(), 1u);
}

TEST_F(ApiServerTest, HoldsManyStreamsAtOnce) {
  constexpr size_t kStreams = 300;
  std::list<RawClient> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(server_->port());
    clients.back().send_bytes(chat(fmt::format("[stall]{}", i), R"("stream":true)"));
  }
  EXPECT_TRUE(node_.wait_for_live(kStreams));
  std::list<RawClient> more;
  for (size_t i = 0; i < kStreams; ++i) {
    more.emplace_back(server_->port());
    more.back().send_bytes(chat(fmt::format("[say:answer {}]", i), R"("stream":true)"));
  }
  size_t done = 0;
  for (RawClient& client : more)
    done += client.read_until("\r\n0\r\n\r\n").find("[DONE]") != std::string::npos ? 1 : 0;
  EXPECT_EQ(done, kStreams);
  clients.clear();
  EXPECT_TRUE(node_.wait_for_live(0));
}

TEST_F(ApiServerTest, StoppingEndsStreamsWithAnError) {
  RawClient streaming(server_->port()), waiting(server_->port());
  streaming.send_bytes(chat("[forever]", R"("stream":true)"));
  waiting.send_bytes(chat("[stall]"));
  ASSERT_TRUE(node_.wait_for_live(2));
  streaming.read_until("content");
  server_->stop(0);
  EXPECT_NE(streaming.read_to_end().find("\"type\":\"server_error\""), std::string::npos);
  EXPECT_EQ(status_of(waiting.read_to_end()), 503);
  EXPECT_TRUE(node_.wait_for_live(0));
}

}  // namespace
}  // namespace exo
