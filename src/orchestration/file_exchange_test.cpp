// Three nodes with a downloads folder each, linked in this process, and the hub double.
#include "orchestration/file_exchange.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include "base/file.h"
#include "download/piece_hashes.h"
#include "download/shard_downloader.h"
#include "download/test_hub.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNodes = 3;

class FileExchangeTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("exo-exchange-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "repo");
    truth_ = two_layer_safetensors(3u << 20);
    std::ofstream(root_ / "repo/model.safetensors", std::ios::binary) << truth_;
    std::ofstream(root_ / "repo/config.json") << R"({"model_type": "x"})";
    hub_ = std::make_unique<HubDouble>(root_ / "repo");
    ASSERT_FALSE(hub_->endpoint().empty()) << "python3 is needed";
    hub_->behave();
    for (size_t i = 0; i < kNodes; ++i) {
      down_[i] = false;
      exchanges_[i] = std::make_shared<FileExchange>(downloads(i));
    }
    for (size_t i = 0; i < kNodes; ++i) start(i);
  }
  void TearDown() override {
    for (const auto& exchange : exchanges_) exchange->stop();
    other_hub_.reset();  // first: it was made later and keeps the pipe to the other one open
    hub_.reset();
    fs::remove_all(root_);
  }

  static NodeId id(size_t node) { return NodeId{std::string(32, static_cast<char>('a' + node))}; }
  fs::path downloads(size_t node) const { return root_ / std::to_string(node); }
  fs::path model(size_t node) const { return downloads(node) / "org--model"; }

  void start(size_t node) {
    FileExchange::Links links;
    links.self = id(node);
    links.send = [this, node](const NodeId& to, Message message) {
      for (size_t i = 0; i < kNodes; ++i) {
        if (id(i) != to || down_[i] || down_[node]) continue;
        if (auto* request = std::get_if<FileRequest>(&message))
          exchanges_[i]->on_request(id(node), std::move(*request));
        else if (auto* reply = std::get_if<FileReply>(&message))
          deliver(i, node, std::move(*reply));
        else if (auto* proof = std::get_if<FileProof>(&message))
          exchanges_[i]->on_proof(std::move(*proof));
        return true;
      }
      return false;
    };
    links.peers = [this, node] {
      std::vector<NodeId> peers;
      for (size_t i = 0; i < kNodes; ++i)
        if (i != node && !down_[i]) peers.push_back(id(i));
      return peers;
    };
    links.busy = [] { return false; };
    exchanges_[node]->start(std::move(links));
  }
  void deliver(size_t to, size_t from, FileReply reply) {
    if (!reply.bytes.empty() && dies_after_ > 0 && --dies_after_ == 0) {
      down_[from] = true;
      exchanges_[to]->on_link_down(id(from));
      return;
    }
    exchanges_[to]->on_reply(id(from), std::move(reply));
  }

  ShardDownloader downloader(size_t node) {
    ShardDownloader::Options options;
    options.downloads = downloads(node);
    options.hub.endpoint = hub_->endpoint();
    options.neighbours = exchanges_[node];
    options.connections = connections_;
    if (other_hub_ && node == 0) options.hub.endpoint = other_hub_->endpoint();
    if (other_hub_ && node != 0) options.hub.world = &quick_world_;
    return ShardDownloader(std::move(options));
  }
  // All of it, by this node; "" or the sentence.
  std::string download(size_t node) {
    DownloadWatch watch;
    return download(node, watch);
  }
  std::string download(size_t node, DownloadWatch& watch) {
    const ShardDownloader all = downloader(node);
    const auto folder = all.prepare({"org/model", "main", ""}, watch);
    if (!folder.ok()) return folder.error().message;
    const auto fetched = all.fetch_all(*folder, watch);
    if (!fetched.ok()) return fetched.error().message;
    EXPECT_EQ(watch.done_bytes, watch.total_bytes);
    EXPECT_EQ(read_file(model(node) / "model.safetensors", 1 << 24).value(), truth_);
    return "";
  }
  // A part of it, by this node.
  void fetch(size_t node, ByteRange range) {
    DownloadWatch watch;
    const ShardDownloader some = downloader(node);
    const auto folder = some.prepare({"org/model", "main", ""}, watch);
    ASSERT_TRUE(folder.ok()) << folder.error().message;
    const auto fetched = some.fetch(*folder, {{"model.safetensors", RangeSet(range)}}, watch);
    ASSERT_TRUE(fetched.ok()) << fetched.error().message;
  }
  SparseRecord record(size_t node) const {
    return read_sparse_record(model(node) / "model.safetensors").value().value();
  }
  // Whether it comes to that within 20 s.
  static bool soon(const std::function<bool()>& condition) {
    for (int i = 0; i < 400 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return condition();
  }
  void flip_byte(size_t node, uint64_t at) {
    std::fstream file(model(node) / "model.safetensors.partial",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(truth_[at] ^ 1));
  }
  void all_download_at_once() {
    std::vector<std::thread> nodes;
    std::array<std::string, kNodes> said;
    for (size_t i = 0; i < kNodes; ++i) nodes.emplace_back([&, i] { said[i] = download(i); });
    for (std::thread& node : nodes) node.join();
    for (const std::string& sentence : said) EXPECT_EQ(sentence, "");
  }
  // Its seconds pass twenty times as fast.
  class QuickWorld final : public World {
   public:
    int64_t now_us() const override { return real_world().now_us() * 20; }
    int64_t wall_time_ms() const override { return real_world().wall_time_ms(); }
    void random_bytes(std::span<std::byte> out) override { real_world().random_bytes(out); }
  };
  int64_t size() const { return static_cast<int64_t>(truth_.size()); }
  // One byte of its complete file, after it was proved.
  void spoil(size_t node, uint64_t at) {
    std::string wrong = truth_;
    wrong[at] ^= 1;
    std::ofstream(model(node) / "model.safetensors", std::ios::binary) << wrong;
  }
  int64_t asked_of_hub() { return hub_->sent("model.safetensors"); }

  fs::path root_;
  std::string truth_;
  std::unique_ptr<HubDouble> hub_;
  std::unique_ptr<HubDouble> other_hub_;  // of node 0, where there is one
  QuickWorld quick_world_;                // of the others then
  int connections_ = 8;
  std::array<std::shared_ptr<FileExchange>, kNodes> exchanges_;
  std::array<std::atomic<bool>, kNodes> down_;
  std::atomic<int> dies_after_ = 0;  // replies with bytes
};

TEST_F(FileExchangeTest, WhatANeighbourHasIsNotAskedOfTheHub) {
  ASSERT_EQ(download(0), "");
  EXPECT_EQ(asked_of_hub(), size());
  ASSERT_EQ(download(1), "");
  EXPECT_EQ(asked_of_hub(), size());
}

TEST_F(FileExchangeTest, NodesThatWantTheSameAtOnceFetchItOnce) {
  all_download_at_once();
  EXPECT_EQ(asked_of_hub(), size());
}

TEST_F(FileExchangeTest, NodesThatWantTheSameAtOnceFetchDifferentPartsOfIt) {
  connections_ = 1;
  other_hub_ = std::make_unique<HubDouble>(root_ / "repo");  // counts what the first node asks for
  hub_->behave("speed=1500000");
  other_hub_->behave("speed=1500000");
  all_download_at_once();
  const int64_t first = other_hub_->sent("model.safetensors");
  EXPECT_EQ(first + asked_of_hub(), size());
  EXPECT_GT(first, size() / 8);
  EXPECT_GT(asked_of_hub(), size() / 4);  // the two others
}

TEST_F(FileExchangeTest, AShareOfANodeThatDiesIsFetchedByTheOthers) {
  connections_ = 1;
  hub_->behave("speed=1000000");
  DownloadWatch dying;
  std::thread first([&] { EXPECT_NE(download(0, dying), ""); });
  std::thread second([&] { EXPECT_EQ(download(1), ""); });
  std::thread third([&] { EXPECT_EQ(download(2), ""); });
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  down_[0] = true;
  for (size_t i = 1; i < kNodes; ++i) exchanges_[i]->on_link_down(id(0));
  dying.stop = true;
  first.join();
  second.join();
  third.join();
  EXPECT_GE(asked_of_hub(), size());
  EXPECT_LT(asked_of_hub(), size() + (3 << 20));
}

TEST_F(FileExchangeTest, ANodeThatIsSlowBesideTheHubIsNotWaitedFor) {
  connections_ = 1;
  other_hub_ = std::make_unique<HubDouble>(root_ / "repo");
  other_hub_->behave("speed=100000");  // ten seconds for what it asks for at once
  DownloadWatch slow;
  std::thread first([&] { (void)download(0, slow); });
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_EQ(download(1), "");
  EXPECT_LT(other_hub_->sent("model.safetensors"), size() / 2);  // it was far from its end
  EXPECT_LE(asked_of_hub(), size());
  slow.stop = true;
  first.join();
}

TEST_F(FileExchangeTest, ANeighbourThatGoesAwayCostsOnlyWhatItHadNotGiven) {
  ASSERT_EQ(download(0), "");
  dies_after_ = 6;
  ASSERT_EQ(download(1), "");
  EXPECT_GT(asked_of_hub(), size());
  EXPECT_LT(asked_of_hub(), 2 * size());
}

TEST_F(FileExchangeTest, OfAWrongCopyOnlyTheWrongPieceIsFetchedAgain) {
  ASSERT_EQ(download(0), "");
  spoil(0, 5u << 20);
  EXPECT_EQ(download(1), "");  // compares with the truth
  EXPECT_EQ(asked_of_hub(), size() + size() % (4 << 20));
  spoil(0, 3u << 20);
  EXPECT_EQ(download(2), "");  // from two, of which one is right
  EXPECT_LE(asked_of_hub(), size() + size() % (4 << 20) + (4 << 20));
}

TEST_F(FileExchangeTest, OfAWrongCopyThatNobodyCanCheckWhatTheHubGaveIsKept) {
  fetch(1, {0, 4u << 20});
  ASSERT_EQ(download(0), "");
  spoil(0, 5u << 20);
  fs::remove(hashes_path(model(0) / "model.safetensors"));
  EXPECT_EQ(download(1), "");
  EXPECT_EQ(asked_of_hub(), size() + size() - (4 << 20));
}

TEST_F(FileExchangeTest, WrongHashesOfPiecesHelpNobody) {
  ASSERT_EQ(download(0), "");
  spoil(0, 5u << 20);
  std::ofstream(hashes_path(model(0) / "model.safetensors")) << std::string(32, 'x');
  EXPECT_EQ(download(1), "");
  EXPECT_EQ(asked_of_hub(), 2 * size());
}

TEST_F(FileExchangeTest, NothingButFilesOfTheModelIsGiven) {
  ASSERT_EQ(download(0), "");
  std::ofstream(downloads(0) / "secret") << std::string(100, 's');
  const auto record = read_source_record(model(0)).value();
  const std::string source = to_text(record->source);
  const auto give = [&](const std::string& file, ByteRange range) {
    const auto bytes = exchanges_[1]->read(id(0), {source, file}, range);
    return bytes ? bytes->size() : 0;
  };
  EXPECT_EQ(give("config.json", {0, 19}), 19);
  EXPECT_EQ(give("config.json", {0, 20}), 0);
  EXPECT_EQ(give("../secret", {0, 10}), 0);
  EXPECT_EQ(give(".exo-source.json", {0, 10}), 0);
  const auto other = exchanges_[1]->read(id(0), {"hf.co/org/model@other", "config.json"}, {0, 5});
  EXPECT_FALSE(other.has_value());
}

TEST_F(FileExchangeTest, WhatNoNodeHasWholeIsProvedTogether) {
  fetch(0, {0, 2u << 20});
  fetch(1, {2u << 20, 4u << 20});
  EXPECT_TRUE(record(0).proved.empty());
  fetch(2, {4u << 20, truth_.size()});
  for (size_t node = 0; node < kNodes; ++node)
    EXPECT_TRUE(soon([&] { return record(node).proved == record(node).held; })) << node;
  EXPECT_EQ(record(1).held.bytes(), (2u << 20) + (32u << 10));  // with the header
}

TEST_F(FileExchangeTest, WrongBytesOfAPartAreFoundByTheHashOfTheWhole) {
  fetch(0, {0, 2u << 20});
  fetch(1, {2u << 20, 4u << 20});
  flip_byte(1, 3u << 20);
  fetch(2, {4u << 20, truth_.size()});
  for (size_t node = 0; node < kNodes; ++node)
    EXPECT_TRUE(soon([&] { return record(node).held.empty(); })) << node;
  EXPECT_EQ(download(1), "");  // compares with the truth
}

TEST_F(FileExchangeTest, ACopyThatDiffersFromTheProvedBytesIsForgotten) {
  fetch(0, {0, 4u << 20});
  fetch(1, {2u << 20, 4u << 20});
  flip_byte(1, 3u << 20);
  fetch(2, {4u << 20, truth_.size()});
  EXPECT_TRUE(soon([&] { return record(1).held == RangeSet(ByteRange{0, 32u << 10}); }));
  EXPECT_TRUE(soon([&] { return record(1).proved == record(1).held; }));
  EXPECT_TRUE(soon([&] { return record(0).proved == record(0).held; }));
  EXPECT_TRUE(soon([&] { return record(2).proved == record(2).held; }));
}

}  // namespace
}  // namespace exo
