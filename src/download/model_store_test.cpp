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
