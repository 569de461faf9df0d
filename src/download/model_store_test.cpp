#include "download/model_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace exo {
namespace {

namespace fs = std::filesystem;

class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("exo-store-" + std::to_string(getpid()));
    fs::remove_all(root_);
    add("share/exo/models/demo/config.json");
    add("home/downloads/demo/config.json");
    add("home/downloads/org--Name-1B/config.json");
    add("home/downloads/tiny.Q4_0.gguf");
    add("home/downloads/empty/readme.txt");
    add("elsewhere/mine/config.json");
    ModelStoreOptions options;
    options.builtin = builtin_model_folders(root_ / "bin/exo", "");
    options.downloads = root_ / "home/downloads";
    store_ = std::make_unique<ModelStore>(options);
  }
  void TearDown() override { fs::remove_all(root_); }

  void add(const std::string& name) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << "{}";
  }
  std::string found(const std::string& name) {
    const auto model = store_->find(name);
    return model.ok() ? model->id + " " + fs::relative(model->path, root_).string()
                      : model.error().message;
  }

  fs::path root_;
  std::unique_ptr<ModelStore> store_;
};

TEST_F(ModelStoreTest, FindsByIdAliasAndPath) {
  EXPECT_EQ(found("demo"), "demo share/exo/models/demo");  // built in before downloaded
  EXPECT_EQ(found("org/Name-1B"), "org--Name-1B home/downloads/org--Name-1B");
  EXPECT_EQ(found("ORG/name-1b"), "org--Name-1B home/downloads/org--Name-1B");
  EXPECT_EQ(found("tiny.Q4_0"), "tiny.Q4_0 home/downloads/tiny.Q4_0.gguf");
  EXPECT_EQ(store_->list().size(), 3u);
  EXPECT_EQ(found((root_ / "elsewhere/mine/").string()), "mine elsewhere/mine");
  EXPECT_EQ(found("mine"), "mine elsewhere/mine");
  EXPECT_EQ(store_->list().size(), 4u);
  EXPECT_EQ(found((root_ / "elsewhere/../elsewhere/mine").string()), "mine elsewhere/mine");
  EXPECT_EQ(store_->list().size(), 4u);
}

TEST_F(ModelStoreTest, RemovesWhatWasDownloadedAndNothingElse) {
  add("home/downloads/.removed-old/config.json");  // a removal that was killed
  EXPECT_EQ(store_->list().size(), 3u) << "what is being removed is no model";
  const auto stored = store_->find("org/Name-1B");
  ASSERT_TRUE(stored.ok());
  const auto freed = store_->remove(*stored);
  ASSERT_TRUE(freed.ok()) << freed.error().message;
  EXPECT_GT(*freed, 0u);
  EXPECT_FALSE(fs::exists(stored->path));
  EXPECT_FALSE(fs::exists(root_ / "home/downloads/.removed-old"));
  EXPECT_EQ(store_->list().size(), 2u);
  ASSERT_TRUE(store_->remove(*store_->find("tiny.Q4_0")).ok());
  EXPECT_FALSE(fs::exists(root_ / "home/downloads/tiny.Q4_0.gguf"));
  for (const std::string& kept : {std::string("demo"), (root_ / "elsewhere/mine").string()}) {
    const auto refused = store_->remove(*store_->find(kept));
    ASSERT_FALSE(refused.ok()) << kept;
    EXPECT_NE(refused.error().message.find("left alone"), std::string::npos);
  }
  EXPECT_TRUE(fs::exists(root_ / "share/exo/models/demo/config.json"));
}

TEST_F(ModelStoreTest, ListsFoldersOfOthersAndWhatOllamaHas) {
  add("shared/Big-70B/config.json");
  const std::string digest(64, 'a'), missing(64, 'b');
  add("ollama/blobs/sha256-" + digest);
  const auto pulled = [&](const std::string& name, const std::string& text) {
    add("ollama/manifests/" + name);
    std::ofstream(root_ / "ollama/manifests" / name) << text;
  };
  const auto manifest = [](const std::string& digest_text) {
    return R"({"layers": [{"mediaType": "application/vnd.ollama.image.license", "digest": "x"},
      {"mediaType": "application/vnd.ollama.image.model", "digest": ")" +
           digest_text + R"("}]})";
  };
  pulled("registry.ollama.ai/library/llama3.2/3b", manifest("sha256:" + digest));
  pulled("registry.ollama.ai/someone/mine/latest", manifest("sha256:" + digest));
  pulled("hf.co/org/name/Q4_K_M", manifest("sha256:" + digest));
  pulled("registry.ollama.ai/library/gone/latest", manifest("sha256:" + missing));
  pulled("registry.ollama.ai/library/evil/latest", manifest("sha256:../../../etc/passwd"));
  pulled("registry.ollama.ai/library/broken/latest", "{");
  ModelStoreOptions options;
  options.downloads = root_ / "home/downloads";
  options.read_only = {root_ / "shared", root_ / "not-there"};
  options.ollama = root_ / "ollama";
  ModelStore store(options);
  std::string ids;
  for (const StoredModel& model : store.list()) ids += model.id + " ";
  EXPECT_EQ(ids,
            "demo org--Name-1B tiny.Q4_0 Big-70B ollama/hf.co/org/name:Q4_K_M "
            "ollama/llama3.2:3b ollama/someone/mine:latest ");
  for (const char* kept : {"Big-70B", "ollama/llama3.2:3b"}) {
    const auto model = store.find(kept);
    ASSERT_TRUE(model.ok()) << kept;
    EXPECT_FALSE(store.remove(*model).ok()) << kept;
    EXPECT_TRUE(fs::exists(model->path));
  }
}

TEST_F(ModelStoreTest, SaysWhereItLooked) {
  EXPECT_NE(found("nope").find("Here are: demo, org--Name-1B, tiny.Q4_0"), std::string::npos);
  EXPECT_NE(found((root_ / "home/downloads/empty").string()).find("config.json"),
            std::string::npos);
  EXPECT_FALSE(store_->find("").ok());
  EXPECT_FALSE(store_->find(std::string("a\0b", 3)).ok());
  EXPECT_FALSE(store_->find("../../etc").ok());
}

}  // namespace
}  // namespace exo
