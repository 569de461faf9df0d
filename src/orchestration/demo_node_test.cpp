// Whole nodes with the real engine and the built-in model: text in, text out.
#include <gtest/gtest.h>

#include <cstdlib>

#include "orchestration/engine_factory.h"
#include "orchestration/test_cluster.h"
#include "orchestration/text_stream.h"

namespace exo {
namespace {

std::filesystem::path demo_folder() {
  if (const char* given = std::getenv("EXO_DEMO_MODEL")) return given;
  return std::filesystem::path(EXO_SOURCE_DIR) / "models/demo";
}

class DemoNode : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_model_path(demo_folder())) GTEST_SKIP() << "no demo model in " << demo_folder();
  }

  static TestCluster::Options of(size_t nodes) {
    TestCluster::Options options;
    options.nodes = nodes;
    ModelStoreOptions store;
    store.downloads = demo_folder().parent_path();
    options.models = make_disk_model_library(store);
    EngineFactoryOptions engine;
    engine.threads = 1;
    options.make_engine = make_engine_factory(options.models, nullptr, engine);
    return options;
  }

  static GenerationRequest question(const std::string& text, int max_tokens) {
    GenerationRequest request;
    request.model = demo_folder().filename().string();
    request.messages.push_back({"user", Json(text), {}});
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    return request;
  }

  // The rest of the answer's text, or of so many tokens.
  static std::string read(TextStream& stream, int most_tokens = 1 << 20) {
    std::string text;
    for (int tokens = 0; tokens < most_tokens;) {
      const auto event = stream.next(60'000);
      if (!event) return text + "[nothing came for a minute]";
      if (event->kind == TextEvent::Kind::notice) continue;
      if (event->kind == TextEvent::Kind::failed) return text + "[" + event->error.message + "]";
      text += event->text;
      tokens += static_cast<int>(event->ids.size());
      if (event->kind == TextEvent::Kind::done) break;
    }
    return text;
  }

  static std::string answer(LocalNode& node, const std::string& text) {
    auto started = node.generate(question(text, 100));
    if (!started.ok()) return "[" + started.error().message + "]";
    TextStream stream(*std::move(started), {});
    return read(stream);
  }
};

TEST_F(DemoNode, TwoAndThreeNodesSayWhatOneSays) {
  const std::vector<std::string> questions = {"What is exo?", "How is a model split?"};
  std::vector<std::string> alone;
  for (const size_t count : {1u, 2u, 3u}) {
    TestCluster cluster(of(count));
    ASSERT_TRUE(cluster.wait_until_linked());
    ASSERT_TRUE(cluster.spread(demo_folder().filename().string()));
    for (size_t i = 0; i < questions.size(); ++i) {
      const std::string said = answer(cluster[i % count], questions[i]);
      if (count == 1)
        alone.push_back(said);
      else
        EXPECT_EQ(said, alone[i]);
    }
  }
  EXPECT_GT(alone[0].size(), 20u);
  EXPECT_EQ(alone[0].find('['), std::string::npos) << alone[0];
  std::printf("demo says: %s\n", alone[0].c_str());
}

TEST_F(DemoNode, TheTextGoesOnWhenANodeDies) {
  std::string undisturbed;
  {
    TestCluster cluster(of(1));
    undisturbed = answer(cluster[0], "What happens when a node dies?");
  }
  TestCluster cluster(of(2));
  ASSERT_TRUE(cluster.wait_until_linked());
  ASSERT_TRUE(cluster.spread(demo_folder().filename().string()));
  auto started = cluster[0].generate(question("What happens when a node dies?", 100));
  ASSERT_TRUE(started.ok()) << started.error().message;
  TextStream stream(*std::move(started), {});
  std::string text = read(stream, 5);
  cluster.kill(1);
  text += read(stream);
  EXPECT_EQ(text, undisturbed);
}

}  // namespace
}  // namespace exo
