// Against the hub double (tests/hub/hub_double.py), in a process of its own.
#include "download/shard_downloader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/file.h"
#include "download/downloads.h"
#include "download/test_hub.h"
#include "tensor/sparse_file.h"
#include "tensor/tensor_files.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class ShardDownloaderTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("exo-hub-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "repo" / "original");
    truth_ = two_layer_safetensors(1u << 20);
    std::ofstream(root_ / "repo/model.safetensors", std::ios::binary) << truth_;
    std::ofstream(root_ / "repo/config.json") << R"({"model_type": "x"})";
    std::ofstream(root_ / "repo/tokenizer.json") << "{}";
    std::ofstream(root_ / "repo/README.md") << "not wanted";
    std::ofstream(root_ / "repo/original/weights.safetensors") << "not wanted";
    hub_ = std::make_unique<HubDouble>(root_ / "repo");
    ASSERT_FALSE(hub_->endpoint().empty()) << "python3 is needed";
    hub_->behave();
  }
  void TearDown() override {
    hub_.reset();
    fs::remove_all(root_);
  }

  ShardDownloader downloader(int stall_s = 5, bool offline = false) {
    ShardDownloader::Options options;
    options.downloads = root_ / "downloads";
    options.hub.endpoint = hub_->endpoint();
    options.hub.http.stall_timeout_s = stall_s;
    options.hub.most_attempts = 3;
    options.hub.offline = offline;
    return ShardDownloader(std::move(options));
  }
  // What all of it comes to: "" or the sentence.
  std::string download(const std::string& behaviour, int stall_s = 5) {
    hub_->behave(behaviour);
    DownloadWatch watch;
    const ShardDownloader all = downloader(stall_s);
    const auto folder = all.prepare({"org/model", "main", ""}, watch);
    if (!folder.ok()) return folder.error().message;
    const auto fetched = all.fetch_all(*folder, watch);
    if (!fetched.ok()) return fetched.error().message;
    EXPECT_EQ(read_file(*folder / "model.safetensors", 1 << 24).value(), truth_);
    EXPECT_FALSE(fs::exists(*folder / "README.md"));
    return "";
  }
  void forget() { fs::remove_all(root_ / "downloads"); }

  fs::path root_;
  std::string truth_;
  std::unique_ptr<HubDouble> hub_;
};

TEST_F(ShardDownloaderTest, BringsOnlyTheTensorsAskedFor) {
  const ShardDownloader all = downloader();
  DownloadWatch watch;
  const auto folder = all.prepare({"org/model", "main", ""}, watch);
  ASSERT_TRUE(folder.ok()) << folder.error().message;
  EXPECT_EQ(folder->filename(), "org--model");
  const auto sparse = open_safetensors(*folder);
  ASSERT_TRUE(sparse.ok()) << sparse.error().message;
  const auto place = (*sparse)->places("layer.1.w").value().front();
  EXPECT_FALSE(place.here);
  EXPECT_LT(hub_->sent("model.safetensors"), 40'000);
  DownloadWatch second;
  const auto fetched = all.fetch(*folder, {{"model.safetensors", RangeSet(place.bytes)}}, second);
  ASSERT_TRUE(fetched.ok()) << fetched.error().message;
  const auto files = open_safetensors(*folder).value();
  EXPECT_TRUE(files->places("layer.1.w").value().front().here);
  EXPECT_FALSE(files->places("layer.0.w").value().front().here);
  EXPECT_EQ(std::memcmp(files->find("layer.1.w").value().bytes.data(),
                        truth_.data() + place.bytes.begin, place.bytes.size()),
            0);
  EXPECT_LT(hub_->sent("model.safetensors"), (1 << 20) + 70'000);
  EXPECT_EQ(files->header_digest(), open_safetensors(root_ / "repo").value()->header_digest());
  // The rest completes the file, and nothing comes twice.
  DownloadWatch third;
  ASSERT_TRUE(all.fetch_all(*folder, third).ok());
  EXPECT_LE(hub_->sent("model.safetensors"), static_cast<int64_t>(truth_.size()));
  EXPECT_EQ(read_file(*folder / "model.safetensors", 1 << 24).value(), truth_);
  const auto record = read_source_record(*folder).value();
  EXPECT_TRUE(held_bytes(*folder, *record).value().complete());
  // And offline it is there.
  DownloadWatch fourth;
  EXPECT_TRUE(downloader(5, true).prepare({"org/model", "main", ""}, fourth).ok());
}

TEST_F(ShardDownloaderTest, GoesOnWhereItBrokeOff) {
  EXPECT_EQ(download("cut=300000&times=4"), "");
  EXPECT_LE(hub_->sent("model.safetensors"), static_cast<int64_t>(truth_.size() * 21 / 20));
}

TEST_F(ShardDownloaderTest, CopesWithServersThatKnowNoRanges) {
  EXPECT_EQ(download("no_ranges=1"), "");
}

TEST_F(ShardDownloaderTest, TriesAgainWhenAskedToWait) {
  EXPECT_EQ(download("status=429&retry_after=1&times=2"), "");
  forget();
  EXPECT_EQ(download("status=503&times=2"), "");
  forget();
  EXPECT_EQ(download("api_status=503&times=2"), "");
}

TEST_F(ShardDownloaderTest, NeverTrustsWrongBytes) {
  EXPECT_EQ(download("flip=1500000&times=1"), "") << "thrown away and fetched again";
  forget();
  EXPECT_NE(download("flip=1500000").find("hash is wrong"), std::string::npos);
  EXPECT_FALSE(fs::exists(root_ / "downloads/org--model/model.safetensors"));
}

TEST_F(ShardDownloaderTest, SaysWhatIsWrongWithAHub) {
  const std::pair<const char*, const char*> cases[] = {{"changed=1", "changed under the same name"},
                                                       {"html=1", "does not answer as a hub does"},
                                                       {"circle=1", "redirects in circles"},
                                                       {"status=416", "shorter now"},
                                                       {"status=429", "too many requests"}};
  for (const auto& [how, sentence] : cases) {
    forget();
    const std::string said = download(how);
    EXPECT_NE(said.find(sentence), std::string::npos) << how << ": " << said;
  }
  forget();
  EXPECT_NE(download("drip=1", 1).find("sends nothing any more"), std::string::npos);
  DownloadWatch watch;
  const auto unknown = downloader().prepare({"org/other", "main", ""}, watch);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("set HF_TOKEN"), std::string::npos);
  const auto offline = downloader(5, true).prepare({"org/other", "main", ""}, watch);
  ASSERT_FALSE(offline.ok());
  EXPECT_NE(offline.error().message.find("offline"), std::string::npos);
}

TEST_F(ShardDownloaderTest, StopsAndKeepsWhatCame) {
  hub_->behave("speed=400000");
  ShardDownloader::Options options;
  options.downloads = root_ / "downloads";
  options.hub.endpoint = hub_->endpoint();
  Downloads downloads(std::move(options), std::make_shared<ModelCatalog>());
  const uint64_t id = downloads.start("hf.co/org/model", Downloads::Extent::all).value();
  EXPECT_EQ(downloads.start("hf.co/org/model", Downloads::Extent::all).value(), id);
  while (downloads.status(id)->fetched_bytes < 400'000 &&
         downloads.status(id)->state == DownloadStatus::State::running)
    downloads.wait(id, 50);
  EXPECT_TRUE(downloads.cancel(id));
  EXPECT_EQ(downloads.wait(id, 20'000).state, DownloadStatus::State::cancelled);
  const auto record = read_sparse_record(root_ / "downloads/org--model/model.safetensors").value();
  ASSERT_TRUE(record);
  EXPECT_GE(record->held.bytes(), 300'000u);
  EXPECT_EQ(download(""), "");
  EXPECT_LE(hub_->sent("model.safetensors"), static_cast<int64_t>(truth_.size()) - 300'000);
  EXPECT_FALSE(downloads.start("no-such-model", Downloads::Extent::all).ok());
}

}  // namespace
}  // namespace exo
