#include "api/openai_request.h"

#include <gtest/gtest.h>

#include <string>

#include "api/api_error.h"

namespace exo {
namespace {

constexpr std::string_view kMessages = R"("messages":[{"role":"user","content":"hi"}])";

Result<OpenAiRequest> chat(const std::string& fields) {
  return parse_openai_request(OpenAiEndpoint::chat, "{" + std::string(kMessages) +
                                                        (fields.empty() ? "" : ",") + fields + "}");
}
Result<OpenAiRequest> messages(const std::string& list) {
  return parse_openai_request(OpenAiEndpoint::chat, R"({"messages":)" + list + "}");
}
Result<OpenAiRequest> completion(const std::string& fields) {
  return parse_openai_request(OpenAiEndpoint::completions, "{" + fields + "}");
}

TEST(OpenAiRequest, SilenceMeansTheApisDefaults) {
  const auto request = chat("").value();
  const SamplingParams& sampling = request.generation.sampling;
  EXPECT_EQ(sampling.temperature, 1.0);
  EXPECT_EQ(sampling.max_tokens, 0);
  EXPECT_EQ(sampling.top_logprobs, -1);
  EXPECT_FALSE(request.generation.seed_given);
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(completion(R"("prompt":"x")")->generation.sampling.max_tokens, 16);
}

TEST(OpenAiRequest, NullMeansAbsentAndUnknownIsIgnored) {
  for (const std::string field : {"model",
                                  "temperature",
                                  "top_p",
                                  "top_k",
                                  "min_p",
                                  "n",
                                  "stop",
                                  "seed",
                                  "max_tokens",
                                  "tools",
                                  "tool_choice",
                                  "response_format",
                                  "logit_bias",
                                  "logprobs",
                                  "top_logprobs",
                                  "stream",
                                  "stream_options",
                                  "presence_penalty",
                                  "frequency_penalty",
                                  "repeat_penalty",
                                  "grammar",
                                  "chat_template_kwargs",
                                  "modalities",
                                  "audio",
                                  "functions",
                                  "function_call",
                                  "made_up"})
    EXPECT_TRUE(chat("\"" + field + "\":null").ok()) << field;
  EXPECT_TRUE(chat(R"("made_up":{"a":[1]},"user":"u","store":true,"cache_prompt":true)").ok());
}

TEST(OpenAiRequest, TakesEverySamplingFieldAndItsAliases) {
  const auto request =
      chat(R"("temperature":0,"top_k":40,"top_p":0.9,"min_p":0.05,"repetition_penalty":1.1,
              "presence_penalty":0.5,"frequency_penalty":-0.5,"max_completion_tokens":9,
              "max_tokens":5,"seed":-7,"ignore_eos":true,"logprobs":true,"top_logprobs":3,
              "logit_bias":{"12":-100,"3":1.5},"n":4,"stop":["a","","b"],"stream":true,
              "stream_options":{"include_usage":true}, "add_generation_prompt":false,
              "chat_template_kwargs":{"x":1},"enable_thinking":false)")
          .value();
  const SamplingParams& sampling = request.generation.sampling;
  EXPECT_EQ(sampling.temperature, 0);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.min_p, 0.05);
  EXPECT_EQ(sampling.repetition_penalty, 1.1);
  EXPECT_EQ(sampling.max_tokens, 9);
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-7));
  EXPECT_TRUE(request.generation.seed_given);
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_EQ(sampling.top_logprobs, 3);
  ASSERT_EQ(sampling.logit_bias.size(), 2u);
  EXPECT_EQ(sampling.logit_bias[0], (std::pair<TokenId, float>{3, 1.5f}));
  EXPECT_EQ(request.n, 4);
  EXPECT_EQ(request.generation.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(request.stream && request.include_usage);
  EXPECT_FALSE(request.generation.add_generation_prompt);
  EXPECT_EQ(request.generation.template_kwargs.size(), 2u);
  EXPECT_EQ(chat(R"("repeat_penalty":1.3)")->generation.sampling.repetition_penalty, 1.3);
  EXPECT_EQ(chat(R"("n_predict":3)")->generation.sampling.max_tokens, 3);
  EXPECT_EQ(chat(R"("max_tokens":-1)")->generation.sampling.max_tokens, 0);
  EXPECT_FALSE(chat(R"("seed":-1)")->generation.seed_given);
}

TEST(OpenAiRequest, ModelDefaultsYieldToTheClient) {
  OpenAiParseOptions options;
  options.sampling_defaults = [](const std::string&) {
    SamplingParams sampling;
    sampling.temperature = 0.6;
    sampling.top_k = 20;
    return sampling;
  };
  const auto request = parse_openai_request(
      OpenAiEndpoint::chat, "{" + std::string(kMessages) + R"(,"temperature":0.2})", options);
  EXPECT_EQ(request->generation.sampling.temperature, 0.2);
  EXPECT_EQ(request->generation.sampling.top_k, 20);
}

TEST(OpenAiRequest, RefusesBadFieldsAndNamesThem) {
  struct Case {
    std::string fields, param;
  };
  const Case cases[] = {
      {R"("temperature":-1)", "temperature"},
      {R"("temperature":1e999)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("top_p":2)", "top_p"},
      {R"("min_p":-0.1)", "min_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("top_k":1.5)", "top_k"},
      {R"("n":0)", "n"},
      {R"("n":1000000000)", "n"},
      {R"("n":"2")", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-2)", "max_tokens"},
      {R"("max_tokens":"many")", "max_tokens"},
      {R"("seed":18446744073709551616)", "seed"},
      {R"("seed":1.5)", "seed"},
      {R"("stop":7)", "stop"},
      {R"("stop":[1])", "stop"},
      {R"("stop":[")" + std::string(300, 'x') + R"("])", "stop"},
      {R"("logit_bias":[])", "logit_bias"},
      {R"("logit_bias":{"-1":0})", "logit_bias"},
      {R"("logit_bias":{"x":0})", "logit_bias"},
      {R"("logit_bias":{"1":1e308})", "logit_bias"},
      {R"("logit_bias":{"1":"a"})", "logit_bias"},
      {R"("logit_bias":{"1":1,"01":2})", "logit_bias"},
      {R"("logit_bias":{"99999999999999":1})", "logit_bias"},
      {R"("logprobs":true,"top_logprobs":1000000)", "top_logprobs"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":3)", "logprobs"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":1)", "stream_options"},
      {R"("presence_penalty":3)", "presence_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("response_format":{"type":"json_object"})", "response_format"},
      {R"("response_format":{})", "response_format"},
      {R"("response_format":"json")", "response_format"},
      {R"("grammar":"root ::= x")", "grammar"},
      {R"("mirostat":2)", "mirostat"},
      {R"("typical_p":0.5)", "typical_p"},
      {R"("modalities":["text","audio"])", "modalities"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      {R"("tool_choice":7)", "tool_choice"},
      {R"("tools":{})", "tools"},
      {R"("tools":[1])", "tools"},
      {R"("tools":[{"type":"web_search"}])", "tools"},
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("tools":[{"type":"function","function":{"name":""}}])", "tools"},
      {R"("best_of":5)", "best_of"},
      {R"("continue_final_message":true)", "continue_final_message"},
      {R"("model":7)", "model"},
  };
  for (const Case& c : cases) {
    const auto request = chat(c.fields);
    ASSERT_FALSE(request.ok()) << c.fields;
    const ApiError error = to_api_error(request.error());
    EXPECT_EQ(error.status, 400) << c.fields;
    EXPECT_EQ(error.param, c.param) << c.fields << ": " << error.message;
  }
  for (const std::string model : {"../x", "/etc/passwd", "a b", "a\\u0000b"})
    EXPECT_EQ(to_api_error(chat("\"model\":\"" + model + "\"").error()).status, 404) << model;
}

TEST(OpenAiRequest, RefusesBodiesThatAreNotARequest) {
  const std::string deep(200'000, '[');
  for (const std::string& body :
       {std::string(), std::string("[]"), std::string("null"), std::string("12"), std::string("{"),
        std::string("{} x"), std::string("\xef\xbb\xbf{}"), std::string("{\"a\":NaN}"),
        std::string("{\"a\":\"\xff\"}"), std::string("{\"a\":\"\\ud800\"}"),
        std::string("--boundary\r\n"), std::string("{\"messages\":") + deep, std::string(1, '\0')})
    for (const auto endpoint : {OpenAiEndpoint::chat, OpenAiEndpoint::completions}) {
      const auto request = parse_openai_request(endpoint, body);
      ASSERT_FALSE(request.ok()) << body.substr(0, 40);
      EXPECT_EQ(to_api_error(request.error()).status, 400);
    }
}

TEST(OpenAiRequest, PicturesLeaveTheirPlace) {
  const auto request = messages(R"([
      {"role":"user","content":[{"type":"text","text":"a"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,Zm9v","detail":"low"}},
        {"type":"text","text":"b"}]},
      {"role":"assistant","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]},
      {"role":"user","content":[{"type":"image_url","image_url":"DATA:;BASE64,YmFy"}]}])")
                           .value();
  ASSERT_EQ(request.pictures.size(), 2u);
  EXPECT_EQ(request.pictures[0].bytes, "foo");
  EXPECT_EQ(request.pictures[0].field, "messages[0].content[1]");
  EXPECT_EQ(request.pictures[1].bytes, "bar");
  const auto& said = request.generation.messages;
  EXPECT_EQ(to_text(said[0].content),
            R"([{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}])");
  EXPECT_EQ(said[1].content, "c\nd");
  EXPECT_EQ(to_text(said[2].content), R"([{"type":"image"}])");
}

TEST(OpenAiRequest, PicturesComeAsDataOnly) {
  const auto message = [](const std::string& url) {
    const auto request =
        messages(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":")" + url +
                 R"("}}]}])");
    return request.ok() ? "accepted" : request.error().message;
  };
  EXPECT_EQ(message("data:image/png;base64,Zm9v"), "accepted");
  for (const char* url : {"http://127.0.0.1/x.png", "https://example.com/x.png", "file:///x.png",
                          "//host/x.png", "ftp://x", "x", ""})
    EXPECT_NE(message(url).find("does not fetch"), std::string::npos) << url;
  EXPECT_NE(message("data:image/png;base64,!!").find("not base64"), std::string::npos);
  EXPECT_NE(message("data:image/png;base64,Zm 9v").find("not base64"), std::string::npos);
  EXPECT_NE(message("data:image/svg+xml,<svg/>").find("in base64"), std::string::npos);
  EXPECT_NE(message("data:image/png;base64").find("without data"), std::string::npos);
  std::string many;
  for (int i = 0; i < 17; ++i)
    many += R"({"type":"image_url","image_url":{"url":"data:;base64,Zm9v"}},)";
  many.pop_back();
  EXPECT_FALSE(messages(R"([{"role":"user","content":[)" + many + "]}]").ok());
}

TEST(OpenAiRequest, RefusesBadMessages) {
  for (const std::string list :
       {"null", "\"hi\"", "[]", "[123]", "[{}]", "[null]", R"([{"role":1,"content":"x"}])",
        R"([{"role":"wizard","content":"x"}])", R"([{"role":"user","content":123}])",
        R"([{"role":"user","content":null}])", R"([{"role":"user"}])",
        R"([{"role":"user","content":["x"]}])", R"([{"role":"user","content":[{"type":"text"}]}])",
        R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
        R"([{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}])",
        R"([{"role":"user","content":"x","name":1}])",
        R"([{"role":"assistant","content":"x","tool_calls":[{}]}])",
        R"([{"role":"assistant","content":"x","tool_calls":{}}])"}) {
    const auto request = messages(list);
    ASSERT_FALSE(request.ok()) << list;
    EXPECT_EQ(to_api_error(request.error()).status, 400) << list;
  }
  std::string many = "[";
  for (int i = 0; i < 5000; ++i) many += R"({"role":"user","content":""},)";
  many.back() = ']';
  EXPECT_FALSE(messages(many).ok());
}

TEST(OpenAiRequest, ReadsRolesPartsAndToolCalls) {
  const auto request = messages(R"([
      {"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
          "function":{"name":"f","arguments":"{\"x\":1}"}}]},
      {"role":"function","name":"f","content":"42"},
      {"role":"assistant","content":""}])");
  const auto& list = request->generation.messages;
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].role, "system");
  EXPECT_EQ(list[0].content.as_string(), "a\nb");
  EXPECT_TRUE(list[1].content.is_null());
  EXPECT_EQ(list[1].extra.at("tool_calls").at(0).at("function").at("arguments").at("x"), 1);
  EXPECT_EQ(list[2].role, "tool");
  EXPECT_EQ(list[2].extra.at("name"), "f");
}

TEST(OpenAiRequest, ToolChoiceNoneDropsTools) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  EXPECT_EQ(chat(tools)->generation.tools.size(), 1u);
  EXPECT_EQ(chat(tools + R"(,"tool_choice":"auto")")->generation.tools.size(), 1u);
  EXPECT_EQ(chat(tools + R"(,"tool_choice":"none")")->generation.tools.size(), 0u);
  EXPECT_EQ(chat(R"("functions":[{"name":"f"}])")->generation.tools.size(), 1u);
}

TEST(OpenAiRequest, CompletionsPrompts) {
  EXPECT_EQ(std::get<std::string>(completion(R"("prompt":"x")")->prompts.at(0)), "x");
  EXPECT_EQ(completion(R"("prompt":["a","b"])")->prompts.size(), 2u);
  EXPECT_EQ(std::get<1>(completion(R"("prompt":[1,2])")->prompts.at(0)).size(), 2u);
  EXPECT_EQ(completion(R"("prompt":[[1],[2,3]])")->prompts.size(), 2u);
  for (const std::string bad :
       {R"("prompt":7)", R"("prompt":[])", R"("prompt":[-1])", R"("prompt":[1.5])",
        R"("prompt":["a",1])", R"("prompt":[[]])", R"("prompt":[4294967296])", R"("x":1)",
        R"("prompt":{})", R"("prompt":"x","suffix":"y")",
        R"("prompt":"x","echo":true,"logprobs":1)"})
    EXPECT_FALSE(completion(bad).ok()) << bad;
  EXPECT_EQ(completion(R"("prompt":"x","logprobs":5)")->generation.sampling.top_logprobs, 5);
  EXPECT_EQ(completion(R"("prompt":"x","logprobs":false)")->generation.sampling.top_logprobs, -1);
}

TEST(OpenAiRequest, FoldersOnlyFromThisMachine) {
  OpenAiParseOptions local;
  local.allow_paths = true;
  const std::string body = "{" + std::string(kMessages) + R"(,"model":"/home/me/my model"})";
  EXPECT_EQ(parse_openai_request(OpenAiEndpoint::chat, body, local)->generation.model,
            "/home/me/my model");
  EXPECT_FALSE(parse_openai_request(OpenAiEndpoint::chat, body).ok());
  EXPECT_TRUE(is_model_id("org/model:8b-q4@x"));
  EXPECT_FALSE(is_model_id(std::string(300, 'a')));
}

}  // namespace
}  // namespace exo
