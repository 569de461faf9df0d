// One node's copies of another one's layers: of the built-in model, from the hub double.
#include "orchestration/spare_layers.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "download/test_hub.h"
#include "orchestration/held_models.h"
#include "orchestration/stage_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const NodeId kSelf{std::string(32, 'a')}, kOther{std::string(32, 'b')},
    kThird{std::string(32, 'c')};
constexpr int64_t kIdle = 5'000'000;

PlacementInfo placed(uint64_t id, const std::vector<NodeId>& ring, int64_t idle_us = kIdle) {
  PlacementInfo info;
  info.state = PlacementState::ready;
  info.idle_us = idle_us;
  info.placement.id = {id};
  info.placement.card.id = "model";
  info.placement.card.source = "hf.co/org/model@c0ffee";
  const int count = static_cast<int>(ring.size());
  for (int i = 0; i < count; ++i)
    info.placement.stages.push_back({ring[static_cast<size_t>(i)], {"m", i, i + 1, count, 0, 1}});
  return info;
}

int next_layer(std::vector<PlacementInfo> placements, uint64_t done = 0) {
  CoreView view;
  view.self.id = kSelf;
  view.placements = std::move(placements);
  const auto spare = next_spare(view, kIdle, [&](PlacementId id) { return id.value == done; });
  return spare ? spare->shard.layer_begin : -1;
}

TEST(NextSpare, IsTheNextNodeOfTheRing) {
  EXPECT_EQ(next_layer({placed(1, {kSelf, kOther, kThird})}), 1);
  EXPECT_EQ(next_layer({placed(1, {kOther, kSelf, kThird})}), 2);
  EXPECT_EQ(next_layer({placed(1, {kOther, kThird, kSelf})}), 0);
  EXPECT_EQ(next_layer({placed(1, {kSelf})}), -1);
  EXPECT_EQ(next_layer({placed(1, {kOther, kThird})}), -1);
  EXPECT_EQ(next_layer({}), -1);
}

TEST(NextSpare, NothingIsCopiedWhileSomethingIsInUse) {
  EXPECT_EQ(next_layer({placed(1, {kSelf, kOther}, kIdle - 1)}), -1);
  EXPECT_EQ(next_layer({placed(1, {kSelf, kOther}), placed(2, {kSelf}, 0)}), -1);
  EXPECT_EQ(next_layer({placed(1, {kSelf, kOther}), placed(2, {kThird}, 0)}), 1);
}

TEST(NextSpare, OnlyWhatCanBeFetchedAndIsNotDone) {
  PlacementInfo local = placed(1, {kSelf, kOther});
  local.placement.card.source.clear();
  EXPECT_EQ(next_layer({local}), -1);
  PlacementInfo loading = placed(1, {kSelf, kOther});
  loading.state = PlacementState::loading;
  EXPECT_EQ(next_layer({loading}), -1);
  EXPECT_EQ(next_layer({placed(1, {kSelf, kOther}), placed(2, {kOther, kThird, kSelf})}, 1), 0);
}

class SpareLayersTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("exo-spare-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "repo");
    const fs::path demo = fs::path(EXO_SOURCE_DIR) / "models/demo";
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy(demo / name, root_ / "repo" / name);
    hub_ = std::make_unique<HubDouble>(root_ / "repo");
    ASSERT_FALSE(hub_->endpoint().empty()) << "python3 is needed";
    hub_->behave();
    store_.downloads = root_ / "downloads";
    ShardDownloader::Options options;
    options.downloads = store_.downloads;
    options.hub.endpoint = hub_->endpoint();
    downloads_ = std::make_shared<Downloads>(std::move(options), store_.catalog);
    load_own_layers();
  }
  void TearDown() override {
    spare_.reset();
    downloads_.reset();
    hub_.reset();
    fs::remove_all(root_);
  }

  // This node computes the first half of the model and has it; another one the second.
  void load_own_layers() {
    DownloadWatch watch;
    folder_ = downloads_->downloader().prepare({"org/model", "main", ""}, watch).value();
    models_ = make_disk_model_library(store_);
    info_ = placed(7, {kSelf, kOther});
    info_.placement.card = models_->list().at(0);
    layers_ = info_.placement.card.layer_count;
    for (size_t i = 0; i < 2; ++i) {
      Shard& shard = info_.placement.stages[i].shard;
      shard.layer_count = layers_;
      shard.layer_begin = i == 0 ? 0 : layers_ / 2;
      shard.layer_end = i == 0 ? layers_ / 2 : layers_;
    }
    const auto own =
        missing_files(open_model(folder_).value(), folder_, info_.placement.stages[0].shard);
    ASSERT_TRUE(downloads_->downloader().fetch(folder_, own->wanted, watch).ok());
    ASSERT_EQ(held().spans, (std::vector<LayerSpan>{{0, layers_ / 2}}));
  }
  HeldLayers held() { return HeldModelReader(store_).read().at(0).layers; }

  void start() {
    SpareLayers::Options options;
    options.models = models_;
    options.downloads = downloads_;
    options.view = [this] {
      CoreView view;
      view.self.id = kSelf;
      if (loaded_) view.placements = {info_};
      if (loaded_) view.placements[0].idle_us = idle_ ? kIdle : 0;
      return view;
    };
    options.busy = [] { return false; };
    options.idle_us = kIdle;
    options.poll_ms = 20;
    options.room = [this](const fs::path&) { return room_.load(); };
    spare_ = std::make_unique<SpareLayers>(std::move(options));
  }
  static bool wait_for(const std::function<bool()>& condition) {
    for (int i = 0; i < 1500 && !condition(); ++i) std::this_thread::sleep_for(20ms);
    return condition();
  }
  // The one copying; state failed when there is none.
  DownloadStatus copying() {
    const auto all = downloads_->list();
    EXPECT_LE(all.size(), 1u);
    DownloadStatus none;
    none.state = DownloadStatus::State::failed;
    return all.empty() ? none : all.front();
  }

  fs::path root_, folder_;
  std::unique_ptr<HubDouble> hub_;
  ModelStoreOptions store_;
  std::shared_ptr<Downloads> downloads_;
  std::shared_ptr<ModelLibrary> models_;
  PlacementInfo info_;
  int layers_ = 0;
  std::atomic<bool> idle_ = true, loaded_ = true;
  std::atomic<uint64_t> room_ = uint64_t{1} << 40;
  std::unique_ptr<SpareLayers> spare_;
};

TEST_F(SpareLayersTest, TheNextNodesLayersComeWhenItIsQuiet) {
  idle_ = false;
  start();
  std::this_thread::sleep_for(200ms);
  EXPECT_TRUE(downloads_->list().empty());
  idle_ = true;
  ASSERT_TRUE(wait_for([&] { return copying().state == DownloadStatus::State::done; }));
  EXPECT_EQ(held().spans, (std::vector<LayerSpan>{{0, layers_}}));
  EXPECT_EQ(copying().purpose, fmt::format("spare layers {}-{}", layers_ / 2, layers_ - 1));
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(downloads_->list().size(), 1u);  // once is enough
}

TEST_F(SpareLayersTest, ItPausesWhileTheModelIsAskedSomething) {
  hub_->behave("speed=300000");
  start();
  ASSERT_TRUE(wait_for([&] { return copying().fetched_bytes > 300'000; }));
  idle_ = false;
  std::this_thread::sleep_for(1500ms);
  const uint64_t before = copying().fetched_bytes;
  std::this_thread::sleep_for(700ms);
  EXPECT_EQ(copying().fetched_bytes, before);
  EXPECT_EQ(copying().state, DownloadStatus::State::running);
  EXPECT_FALSE(downloads_->running(info_.placement.card.id));  // people are not told to wait
  hub_->behave();
  idle_ = true;
  ASSERT_TRUE(wait_for([&] { return copying().state == DownloadStatus::State::done; }));
  EXPECT_EQ(held().spans, (std::vector<LayerSpan>{{0, layers_}}));
}

TEST_F(SpareLayersTest, WhatIsCancelledIsNotBegunAgain) {
  hub_->behave("speed=200000");
  start();
  ASSERT_TRUE(wait_for([&] { return copying().state == DownloadStatus::State::running; }));
  EXPECT_TRUE(downloads_->cancel(copying().id));
  ASSERT_TRUE(wait_for([&] { return copying().state == DownloadStatus::State::cancelled; }));
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(downloads_->list().size(), 1u);
}

TEST_F(SpareLayersTest, UnloadingAndStoppingEndIt) {
  hub_->behave("speed=200000");
  start();
  ASSERT_TRUE(wait_for([&] { return copying().state == DownloadStatus::State::running; }));
  EXPECT_FALSE(spare_->wait_for_end(info_.placement.card.id, 10));
  loaded_ = false;
  EXPECT_TRUE(spare_->wait_for_end(info_.placement.card.id, 10'000));
  EXPECT_EQ(copying().state, DownloadStatus::State::cancelled);
  loaded_ = true;
  spare_->stop();
  EXPECT_LE(downloads_->list().size(), 2u);
}

TEST_F(SpareLayersTest, ADiskIsNotFilled) {
  room_ = 1000;
  start();
  std::this_thread::sleep_for(300ms);
  EXPECT_TRUE(downloads_->list().empty());
  EXPECT_EQ(held().spans, (std::vector<LayerSpan>{{0, layers_ / 2}}));
}

}  // namespace
}  // namespace exo
