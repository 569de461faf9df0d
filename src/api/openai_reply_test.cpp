#include "api/openai_reply.h"

#include <gtest/gtest.h>

#include <cmath>

#include "api/api_error.h"
#include "api/metrics.h"

namespace exo {
namespace {

const ReplyHead kChat{OpenAiEndpoint::chat, "chatcmpl-1", 5, "m", "fp_1"};

TEST(OpenAiReply, Chunks) {
  ReplyPart part;
  part.first = true;
  EXPECT_EQ(to_text(chunk_json(kChat, part)),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m",)"
            R"("system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant",)"
            R"("content":""},"logprobs":null,"finish_reason":null}]})");
  part = ReplyPart{};
  part.finish_reason = "stop";
  const JsonObject last = chunk_json(kChat, part);
  EXPECT_EQ(to_text(last.at("choices").at(0).at("delta")), "{}");
  EXPECT_EQ(last.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(to_text(usage_chunk_json(kChat, {}).at("choices")), "[]");
}

TEST(OpenAiReply, OnlyKnownFinishReasons) {
  EXPECT_EQ(finish_name(FinishReason::stop), "stop");
  EXPECT_EQ(finish_name(FinishReason::length), "length");
  for (const auto reason : {FinishReason::none, FinishReason::cancelled, FinishReason::error})
    EXPECT_EQ(finish_name(reason), "");
}

TEST(OpenAiReply, LogprobsOfHalfCharactersAndImpossibleTokens) {
  Vocabulary vocabulary;
  vocabulary.bytes = {"a", "\xf0\x9f"};
  const TokenId ids[] = {1, 0, 99};
  const TokenLogprobs logprobs[] = {{-INFINITY, {{0, NAN}}}, {-1, {}}, {-2, {}}};
  const Json chat = logprobs_json(OpenAiEndpoint::chat, ids, logprobs, vocabulary, 0);
  EXPECT_EQ(to_text(chat.at("content").at(0)),
            "{\"token\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"logprob\":-9.999E3,\"bytes\":[240,159],"
            "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-9.999E3,\"bytes\":[97]}]}");
  Json whole = logprobs_json(OpenAiEndpoint::completions, ids, logprobs, vocabulary, 3);
  EXPECT_EQ(to_text(whole.at("text_offset")), "[3,5,6]");
  append_logprobs(whole, whole);
  EXPECT_EQ(whole.at("tokens").as_array().size(), 6u);
}

TEST(OpenAiReply, InvalidUtf8IsReplaced) {
  EXPECT_EQ(replace_invalid_utf8("a\xc3\xa4\xf0\x9f\x99\x82"), "a\xc3\xa4\xf0\x9f\x99\x82");
  for (const char* bad :
       {"\xff", "\xc0", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe0\x80\x80", "\xc3"})
    EXPECT_NE(replace_invalid_utf8(bad).find("\xef\xbf\xbd"), std::string::npos);
}

TEST(ApiErrors, AllFourKeysAndTheRightStatus) {
  struct Case {
    Error error;
    int status;
    std::string code;
  };
  const Case cases[] = {
      {invalid_argument("x"), 400, ""},
      {not_found("x"), 404, "model_not_found"},
      {resource_exhausted("This model's maximum context length is 4 tokens."), 400,
       "context_length_exceeded"},
      {resource_exhausted("queue full"), 429, "rate_limit_exceeded"},
      {unavailable("x"), 503, ""},
      {internal_error("x"), 500, ""},
      {Error{ErrorCode::deadline_exceeded, "x"}, 504, ""},
  };
  for (const Case& c : cases) {
    const ApiError error = to_api_error(c.error, "messages");
    EXPECT_EQ(error.status, c.status);
    EXPECT_EQ(error.code, c.code);
    const JsonObject json = error_json(error);
    EXPECT_EQ(json.at("error").as_object().size(), 4u);
  }
}

TEST(Metrics, CountsAndEscapes) {
  Metrics metrics;
  metrics.request_answered("/models", 200);
  metrics.generation_started();
  metrics.first_token(0.01);
  metrics.inter_token(0.002);
  metrics.generation_finished({"stop", "a\"b", true, 5, 2, 7, 0.5});
  NodeStatus status;
  const std::string text = metrics.render(status, 3);
  for (const char* line :
       {"exo_requests_total{route=\"/models\",code=\"200\"} 1\n",
        "exo_generations_total{model=\"a\\\"b\",finished_reason=\"stop\"} 1\n",
        "exo_prompt_tokens_total 5\n", "exo_generation_tokens_total 7\n",
        "exo_requests_waiting 0\n", "exo_requests_running 0\n", "exo_http_connections 3\n",
        "exo_time_to_first_token_seconds_bucket{le=\"0.016\"} 1\n",
        "exo_time_to_first_token_seconds_bucket{le=\"0.008\"} 0\n",
        "exo_inter_token_seconds_bucket{le=\"+Inf\"} 1\n", "exo_nodes 1\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line;
}

}  // namespace
}  // namespace exo
