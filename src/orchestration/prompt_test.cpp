#include "orchestration/prompt.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

LoadedTemplate loaded(const std::string& source) {
  LoadedTemplate with;
  with.chat_template = ChatTemplate::parse(source).value();
  with.syntax = read_output_syntax(source, *with.chat_template);
  return with;
}

ChatMessage called(const std::string& id, const std::string& content) {
  ChatMessage message{"assistant", Json(content), {}};
  message.extra["tool_calls"] = JsonArray{JsonObject{{"id", id}}};
  message.extra["reasoning_content"] = "hm";
  return message;
}

std::string rendered(const std::string& source, std::vector<ChatMessage> messages) {
  GenerationRequest request;
  request.messages = std::move(messages);
  return render_chat(request, loaded(source), "", 0).value();
}

TEST(RenderChat, ShortensIdsWhereTheTemplateWantsNineCharacters) {
  const std::string source = "{# length != 9 #}{{ messages[0].tool_calls[0].id }}";
  EXPECT_EQ(rendered(source, {called("call_0123456789", "")}), "123456789");
  EXPECT_EQ(rendered(source, {called("abcdefghi", "")}), "abcdefghi");
  EXPECT_EQ(rendered("{{ messages[0].tool_calls[0].id }}", {called("call_0123456789", "")}),
            "call_0123456789");
}

TEST(RenderChat, GptOssReadsThinkingUnderAnotherName) {
  const std::string source = "{# <|channel|><|message|> #}{{ messages[0].thinking }}";
  EXPECT_EQ(rendered(source, {called("1", "")}), "hm");
  EXPECT_EQ(rendered(source, {called("1", "text")}), "");
}

}  // namespace
}  // namespace exo
