// The built-in model as if it had been fetched from a hub, whole and in parts.
#include "orchestration/held_models.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/file.h"
#include "download/shard_downloader.h"
#include "model/model_files.h"
#include "model/weights.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr const char* kFile = "model.safetensors";

class HeldModelsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("exo-held-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(folder());
    const fs::path demo = fs::path(EXO_SOURCE_DIR) / "models/demo";
    for (const char* name : {"config.json", kFile}) fs::copy(demo / name, folder() / name);
    size_ = fs::file_size(folder() / kFile);
    SourceRecord record;
    record.source = {"org/demo", "c0ffee", ""};
    record.files.small = {{"config.json", fs::file_size(folder() / "config.json"), "git:00"}};
    record.files.weights = {{kFile, size_, kOid}};
    ASSERT_TRUE(write_file(folder() / ".exo-source.json", to_text(record)).ok());
    store_.downloads = root_;
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path folder() const { return root_ / "org--demo"; }

  // Of the weights only the header and these layers.
  void hold(int begin, int end) {
    const ModelFiles model = open_model(folder(), "demo").value();
    const Shard shard{
        .layer_begin = begin, .layer_end = end, .layer_count = model.config.layer_count};
    RangeSet held(ByteRange{0, 64u << 10});
    for (const std::string& name :
         tensors_of_shard(*model.architecture, model.config, *model.tensors, shard))
      for (const auto& place : model.tensors->places(name).value()) held.add(place.bytes);
    if (fs::exists(folder() / kFile)) fs::rename(folder() / kFile, partial_path(folder() / kFile));
    ASSERT_TRUE(write_file(record_path(folder() / kFile),
                           to_text(SparseRecord{size_, kOid, "c0ffee", held}))
                    .ok());
  }

  static constexpr const char* kOid =
      "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
  fs::path root_;
  uint64_t size_ = 0;
  ModelStoreOptions store_;
};

TEST_F(HeldModelsTest, AWholeModelIsHeldWithBothEnds) {
  HeldModelReader reader(store_);
  const auto models = reader.read();
  ASSERT_EQ(models.size(), 1u);
  const HeldModel& model = models.front();
  EXPECT_EQ(model.source, "hf.co/org/demo@c0ffee");
  EXPECT_EQ(model.model, "org--demo");
  EXPECT_GT(model.layer_count, 3);
  EXPECT_EQ(model.layers.spans, (std::vector<LayerSpan>{{0, model.layer_count}}));
  EXPECT_TRUE(model.layers.embedding && model.layers.head && model.complete);
  EXPECT_EQ(model.held_bytes, size_);
  EXPECT_EQ(model.total_bytes, size_);
}

TEST_F(HeldModelsTest, OfAPartOnlyWholeLayersCount) {
  HeldModelReader reader(store_);
  const int layers = reader.read().front().layer_count;
  hold(1, 3);
  HeldModel model = reader.read().front();
  EXPECT_EQ(model.layers, (HeldLayers{{{1, 3}}, false, false}));
  EXPECT_FALSE(model.complete);
  EXPECT_LT(model.held_bytes, size_);
  hold(0, 1);
  EXPECT_TRUE(reader.read().front().layers.embedding);
  hold(layers - 1, layers);
  model = reader.read().front();
  EXPECT_EQ(model.layers.spans, (std::vector<LayerSpan>{{layers - 1, layers}}));
  EXPECT_TRUE(model.layers.head);
}

TEST_F(HeldModelsTest, FoldersThatNobodyElseCanNameAreLeftOut) {
  fs::remove(folder() / ".exo-source.json");
  EXPECT_TRUE(HeldModelReader(store_).read().empty());
}

TEST_F(HeldModelsTest, AWatchTellsWhatIsNewAndNothingElse) {
  hold(0, 1);
  std::mutex mutex;
  std::vector<std::vector<HeldModel>> told;
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return told.size();
  };
  const auto wait_for = [&](size_t wanted) {
    for (int i = 0; i < 500 && count() < wanted; ++i) std::this_thread::sleep_for(10ms);
    return count() == wanted;
  };
  HeldModelWatch watch({store_, [] { return false; },
                        [&](const std::vector<HeldModel>& held) {
                          const std::lock_guard lock(mutex);
                          told.push_back(held);
                        }});
  ASSERT_TRUE(wait_for(1));
  hold(1, 2);
  watch.look();
  ASSERT_TRUE(wait_for(2));
  watch.look();
  watch.stop();
  EXPECT_EQ(count(), 2u);
  EXPECT_EQ(told.back().front().layers.spans, (std::vector<LayerSpan>{{1, 2}}));
}

}  // namespace
}  // namespace exo
