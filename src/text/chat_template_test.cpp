#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "text/template_fixtures.h"

namespace exo {
namespace {

void expect_row(const ChatTemplate& parsed, const ChatTemplateInput& input, const JsonObject& row) {
  const auto text = parsed.render(input);
  const auto expected = get_string(row, "expected").value();
  if (expected) {
    ASSERT_TRUE(text.ok()) << text.error().message;
    EXPECT_EQ(*text, *expected);
  } else if (text_of(row, "error") == "TemplateError") {
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(text.error().message, text_of(row, "message"));
  }
}

TEST(ChatTemplate, PublishedTemplatesRenderAsInPython) {
  if (!have_template_fixtures()) GTEST_SKIP() << "no template fixtures (set EXO_FIXTURES)";
  auto inputs = template_conversations();
  size_t rows = 0;
  for (const auto& [name, source] : published_templates()) {
    const auto parsed = ChatTemplate::parse(source);
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.error().message;
    const auto golden = read_file(template_fixtures() / (name + ".jsonl"), kMaxFixtureBytes);
    ASSERT_TRUE(golden.ok()) << golden.error().message;
    for (const JsonObject& row : json_lines(*golden)) {
      SCOPED_TRACE(name + " / " + text_of(row, "case"));
      ASSERT_EQ(inputs.count(text_of(row, "case")), 1u);
      expect_row(**parsed, inputs[text_of(row, "case")], row);
      ++rows;
    }
  }
  EXPECT_GT(rows, 1000u);
}

TEST(ChatTemplate, FeaturesRenderAsInPython) {
  const auto text = read_file(template_fixtures() / "jinja_features.jsonl", kMaxFixtureBytes);
  if (!text.ok()) GTEST_SKIP() << text.error().message << " (set EXO_FIXTURES)";
  ChatTemplateInput input;
  input.kwargs =
      parse_json(read_file(template_fixtures() / "jinja_context.json", kMaxFixtureBytes).value())
          .value()
          .get_object();
  input.now_ms = fixture_now_ms();
  for (const JsonObject& row : json_lines(*text)) {
    SCOPED_TRACE(text_of(row, "template"));
    const auto parsed = ChatTemplate::parse(text_of(row, "template"));
    const bool fails = !get_string(row, "expected").value().has_value();
    if (fails && !parsed.ok()) continue;
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    expect_row(**parsed, input, row);
    EXPECT_EQ((*parsed)->render(input).ok(), !fails);
  }
}

TEST(ChatTemplate, PassesMessagesToolsAndKwargs) {
  const auto parsed = ChatTemplate::parse(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
      "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ think }}"
      "{{ strftime_now('%d %b %Y') }}{{ eos_token }}");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  ChatTemplateInput input;
  input.messages = parse_json(R"([{"role": "user", "content": "hi"}])").value();
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.kwargs["think"] = false;
  input.now_ms = fixture_now_ms();
  EXPECT_EQ((*parsed)->render(input).value(), "<s>user:hi;TrueTrueTrueFalse09 Mar 2025</s>");
}

class FindChatTemplate : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / ("exo_" + std::string(info->name()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "additional_chat_templates");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  std::string found(bool with_tools = false) {
    const auto source = find_chat_template(folder_, with_tools);
    if (!source.ok()) return "ERROR " + source.error().message;
    return source->has_value() ? (*source)->text : "nothing";
  }
  std::filesystem::path folder_;
};

TEST_F(FindChatTemplate, ReadsEveryPlaceInTheOrderOfTransformers) {
  EXPECT_EQ(found(), "nothing");
  write("tokenizer_config.json",
        R"({"chat_template": "config", "bos_token": {"content": "<s>"}, "eos_token": null})");
  EXPECT_EQ(found(), "config");
  const auto source = find_chat_template(folder_).value();
  EXPECT_EQ(source->bos_token, "<s>");
  EXPECT_EQ(source->eos_token, "");
  write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(found(), "json");
  write("chat_template.jinja", "jinja\n");
  EXPECT_EQ(found(), "jinja\n");
  EXPECT_EQ(found(true), "jinja\n");
  write("additional_chat_templates/tool_use.jinja", "tools");
  EXPECT_EQ(found(true), "tools");
  EXPECT_EQ(found(), "jinja\n");
}

TEST_F(FindChatTemplate, ChoosesAmongNamedTemplates) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "a"},
                                     {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(found(), "a");
  EXPECT_EQ(found(true), "b");
}

TEST(ChatTemplateOfGguf, ChoosesAmongNamedTemplates) {
  JsonObject metadata{{"tokenizer.chat_template", "a"},
                      {"tokenizer.chat_template.tool_use", "b"},
                      {"tokenizer.ggml.bos_token_id", 1},
                      {"tokenizer.ggml.tokens", {"<unk>", "<s>"}}};
  EXPECT_EQ(chat_template_of_gguf(metadata)->text, "a");
  EXPECT_EQ(chat_template_of_gguf(metadata, true)->text, "b");
  EXPECT_EQ(chat_template_of_gguf(metadata)->bos_token, "<s>");
  metadata.erase("tokenizer.chat_template.tool_use");
  EXPECT_EQ(chat_template_of_gguf(metadata, true)->text, "a");
  metadata.erase("tokenizer.chat_template");
  EXPECT_FALSE(chat_template_of_gguf(metadata));
}

TEST_F(FindChatTemplate, SaysWhatIsBroken) {
  write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_NE(found().find("tokenizer_config.json: 'chat_template' must be a string"),
            std::string::npos);
  write("tokenizer_config.json", "{");
  EXPECT_NE(found().find("not valid JSON"), std::string::npos);
}

}  // namespace
}  // namespace exo
