#include "orchestration/prompt.h"

#include <gtest/gtest.h>

#include "orchestration/pictures.h"

namespace exo {
namespace {

LoadedTemplate with(std::string_view text) {
  return {ChatTemplate::parse(text).value(), "<s>", "</s>", {}};
}

// Written as Hugging Face's LLaVA templates are: contents are lists of parts.
constexpr std::string_view kParts =
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}ASSISTANT:";
constexpr std::string_view kText =
    "{{ bos_token }}{% for message in messages %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% endfor %}";
constexpr std::string_view kPrints =
    "{% for message in messages %}{{ message.content }}{% endfor %}";

GenerationRequest ask(std::string_view content) {
  GenerationRequest request;
  request.messages.push_back({"user", parse_json(content).value(), {}});
  return request;
}

constexpr std::string_view kLook = R"([{"type":"text","text":"Look:"},{"type":"image"}])";

std::string render(const GenerationRequest& request, std::string_view text,
                   const std::string& image_token = "<image>") {
  return render_chat(request, with(text), {"", image_token, 0}).value();
}

TEST(Prompt, PicturesAreSaidAsTheTemplateReadsThem) {
  EXPECT_EQ(render(ask(kLook), kParts), "USER: <image>\nLook: ASSISTANT:");
  EXPECT_EQ(render(ask(kLook), kText), "<s>[INST] <image>\nLook: [/INST]");
  EXPECT_EQ(render(ask(kLook), kPrints), "<image>\nLook:");
}

// Where a template reads both forms, only messages with pictures become lists.
TEST(Prompt, WhatATemplateReadsAsTextStaysText) {
  constexpr std::string_view both =
      "{% for message in messages %}{% if message.content is string %}[{{ message.content }}]"
      "{% elif message.role == 'user' %}{% for part in message.content %}"
      "{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}{% endif %}{% endfor %}";
  GenerationRequest request = ask(kLook);
  request.messages.push_back({"assistant", Json("A cat."), {}});
  EXPECT_EQ(render(request, both), "Look:<image>[A cat.]");
}

TEST(Prompt, TextAloneReachesEveryTemplate) {
  EXPECT_EQ(render(ask(R"("Hi")"), kParts), "USER: Hi ASSISTANT:");
  EXPECT_EQ(render(ask(R"("Hi")"), kText), "<s>[INST] Hi [/INST]");
  EXPECT_EQ(render(ask(R"("Hi")"), kText, ""), "<s>[INST] Hi [/INST]");
  EXPECT_EQ(render_chat(ask(R"("Hi")"), with(kParts), {"Be brief.", "<image>", 0}).value(),
            "SYSTEM: Be brief. USER: Hi ASSISTANT:");
}

ModelCard vision_card() {
  ModelCard card;
  card.id = "seer";
  card.vision = true;
  card.image_size = 2;
  card.image_tokens = 3;
  card.image_token = 9;
  return card;
}
std::shared_ptr<const Image> square(uint8_t color) {
  return std::make_shared<Image>(Image{2, 2, std::vector<uint8_t>(12, color)});
}

TEST(Prompt, EachImageTokenBecomesItsPicture) {
  const auto placed = expand_images({1, 9, 2, 9}, {square(5), square(6)}, vision_card()).value();
  EXPECT_EQ(placed.ids, (std::vector<TokenId>{1, 9, 9, 9, 2, 9, 9, 9}));
  ASSERT_EQ(placed.images.size(), 2u);
  EXPECT_EQ(placed.images[0].first_position, 1);
  EXPECT_EQ(placed.images[1].first_position, 5);
  EXPECT_EQ(placed.images[1].token_count, 3);
  EXPECT_EQ(placed.images[1].image->rgb[0], 6);
}

TEST(Prompt, PlacesAndPicturesMustAgree) {
  const ModelCard card = vision_card();
  EXPECT_FALSE(expand_images({1, 9, 9}, {square(5)}, card).ok());
  EXPECT_FALSE(expand_images({1, 2}, {square(5)}, card).ok());
  EXPECT_FALSE(expand_images({1, 9}, {}, card).ok());  // typed by somebody
  ModelCard blind = card;
  blind.vision = false;
  EXPECT_EQ(expand_images({1, 9}, {}, blind)->ids, (std::vector<TokenId>{1, 9}));
  EXPECT_EQ(expand_images({1, 9}, {square(5)}, blind).error().message,
            "seer takes text only; GET /v1/models tells which models see pictures");
  const auto many = std::vector<std::shared_ptr<const Image>>(17, square(1));
  EXPECT_FALSE(expand_images(std::vector<TokenId>(17, 9), many, card).ok());
}

TEST(Prompt, FilesAreReadForTheModelThatSeesThem) {
  const std::string gif = "GIF87a\x02\x00\x01\x00\x81\x00\x00";  // the beginning of one
  const auto bytes = std::as_bytes(std::span(gif));
  EXPECT_EQ(read_picture(bytes, vision_card()).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(read_picture(bytes, ModelCard{}).error().code, ErrorCode::unsupported);
}

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
  return render_chat(request, loaded(source), {}).value();
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
