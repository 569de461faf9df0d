#include "download/model_source.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

RepoListing listing(std::vector<std::string> paths) {
  RepoListing repo{"org/name", std::string(40, 'a'), {}};
  for (std::string& path : paths) repo.files.push_back({std::move(path), 10, "git:x"});
  return repo;
}

std::string chosen(const RepoListing& repo, const std::string& what = "") {
  const auto files = choose_files(repo, what);
  if (!files.ok()) return files.error().message;
  std::string text = folder_name(repo.repo, *files) + ":";
  for (const RepoFile& file : files->small) text += " " + file.path;
  text += " |";
  for (const RepoFile& file : files->weights) text += " " + file.path;
  return text;
}

TEST(ModelSourceTest, ReadsAddresses) {
  const auto source = parse_model_source("hf.co/org/My-Model_1.5@v2:Q4_K_M");
  ASSERT_TRUE(source.ok() && *source);
  EXPECT_EQ(**source, (ModelSource{"org/My-Model_1.5", "v2", "Q4_K_M"}));
  EXPECT_EQ(to_text(**source), "hf.co/org/My-Model_1.5@v2:Q4_K_M");
  EXPECT_EQ((**parse_model_source("https://huggingface.co/a/b/")).repo, "a/b");
  EXPECT_FALSE(*parse_model_source("llama-3.2-1b"));
  for (const char* wrong : {"hf.co/", "hf.co/a", "hf.co/a/b/c", "hf.co/../b", "hf.co/a/b:",
                            "hf.co/a/b:../x", "hf.co/a/b@", "hf.co/a/b?x", "hf.co/a--b/c"})
    EXPECT_FALSE(parse_model_source(wrong).ok()) << wrong;
}

TEST(ModelSourceTest, ChoosesFiles) {
  const auto checkpoint =
      listing({"README.md", "config.json", "model-1.safetensors", "consolidated.00.pth",
               "model.safetensors.index.json", "onnx/config.json", "original/x.safetensors",
               "tokenizer.json", "additional_chat_templates/tool_use.jinja"});
  EXPECT_EQ(chosen(checkpoint),
            "org--name: config.json model.safetensors.index.json tokenizer.json "
            "additional_chat_templates/tool_use.jinja | model-1.safetensors");
  EXPECT_EQ(chosen(listing({"config.json", "model.safetensors", "consolidated.safetensors"})),
            "org--name: config.json | model.safetensors");
  const auto gguf = listing({"config.json", "M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-Q4_K.gguf",
                             "mmproj-Q8_0.gguf", "M-Q8_0.gguf", "b/M-F16-00001-of-00002.gguf",
                             "b/M-F16-00002-of-00002.gguf", "M-F32-00002-of-00002.gguf"});
  EXPECT_EQ(chosen(gguf, "q4_k_m"), "org--name--M-Q4_K_M: | M-Q4_K_M.gguf");
  EXPECT_EQ(chosen(gguf, "Q4_K"), "org--name--M-Q4_K: | M-Q4_K.gguf");
  EXPECT_EQ(chosen(gguf, "q8_0"), "org--name--M-Q8_0: | M-Q8_0.gguf");
  EXPECT_EQ(chosen(gguf, "M-Q4_K_S.gguf"), "org--name--M-Q4_K_S: | M-Q4_K_S.gguf");
  const char* parts =
      "org--name--b--M-F16-00001-of-00002: | b/M-F16-00001-of-00002.gguf "
      "b/M-F16-00002-of-00002.gguf";
  EXPECT_EQ(chosen(gguf, "F16"), parts);
  EXPECT_EQ(chosen(gguf, "b/M-F16-00002-of-00002.gguf"), parts);
  EXPECT_NE(chosen(gguf, "M-F32-00002-of-00002.gguf").find("lacks a part"), std::string::npos);
  EXPECT_NE(chosen(gguf, "q2_k").find("M-Q4_K_M.gguf"), std::string::npos);
  EXPECT_NE(chosen(gguf).find("say which"), std::string::npos);
  EXPECT_NE(chosen(listing({"pytorch_model.bin"})).find("neither"), std::string::npos);
}

TEST(ModelSourceTest, PathsOfAHubStayInTheFolder) {
  for (const char* fine : {"config.json", "a/b.gguf", "model-00001-of-00002.safetensors"})
    EXPECT_TRUE(is_safe_repo_path(fine)) << fine;
  for (const char* wrong : {"", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/.exo-lock",
                            "a\\b", "c:x", "a\nb", "x.partial", "x.partial.json", "a/"})
    EXPECT_FALSE(is_safe_repo_path(wrong)) << wrong;
}

TEST(ModelSourceTest, RecordsComeBack) {
  SourceRecord record{{"org/name", std::string(40, 'b'), "x.gguf"}, "q4_0", {}};
  record.files.gguf = true;
  record.files.weights = {{"x.gguf", 99, "sha256:1"}};
  const auto read = parse_source_record(to_text(record));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->source, record.source);
  EXPECT_EQ(read->files.weights.front().size, 99u);
  EXPECT_FALSE(parse_source_record("{}").ok());
  EXPECT_FALSE(parse_source_record(R"({"source":"hf.co/a/b","small":[],"weights":[]})").ok());
}

}  // namespace
}  // namespace exo
