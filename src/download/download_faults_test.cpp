// Downloads whose program, disk or neighbour on the same disk fails, against the hub double.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "download/piece_hashes.h"
#include "download/shard_downloader.h"
#include "download/sparse_store.h"
#include "download/test_hub.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr int kConnections = 4;
const ModelSource kModel{"org/model", "main", ""};

// A disk that has so many bytes left; the system may say otherwise.
class FullOps final : public TestFileOps {
 public:
  Result<void> write_at(int file, uint64_t offset, std::string_view bytes) override {
    if (left < bytes.size()) return resource_exhausted("the disk is full");
    left -= bytes.size();
    return real_.write_at(file, offset, bytes);
  }
  std::optional<uint64_t> free_bytes(const fs::path&) override { return said; }
  std::atomic<uint64_t> left{1u << 30}, said{1u << 30};
};

class DownloadFaultsTest : public testing::Test {
 protected:
  void make_repo(size_t layer_bytes) {
    root_ = fs::temp_directory_path() / ("exo-faults-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "repo");
    files_ = {{"model.safetensors", two_layer_safetensors(layer_bytes)},
              {"config.json", R"({"model_type": "x"})"},
              {"tokenizer.json", "{}"}};
    for (const auto& [name, bytes] : files_)
      std::ofstream(root_ / "repo" / name, std::ios::binary) << bytes;
    hub_ = std::make_unique<HubDouble>(root_ / "repo");
    ASSERT_FALSE(hub_->endpoint().empty()) << "python3 is needed";
    hub_->behave();
  }
  void TearDown() override {
    hub_.reset();
    fs::remove_all(root_);
    ::munmap(arrived_, 4096);
  }

  uint64_t weight_bytes() const { return files_.at("model.safetensors").size(); }
  fs::path folder() const { return root_ / "downloads" / "org--model"; }

  // All of the model.
  Result<void> bring(FileOps& ops, uint64_t piece_bytes, DownloadWatch& watch) {
    ShardDownloader::Options options;
    options.downloads = root_ / "downloads";
    options.hub.endpoint = hub_->endpoint();
    options.hub.most_attempts = 3;
    options.connections = kConnections;
    options.piece_bytes = piece_bytes;
    options.ops = &ops;
    const ShardDownloader downloader(std::move(options));
    return downloader.fetch_all(TRY(downloader.prepare(kModel, watch)), watch);
  }
  pid_t start(FileOps& ops, uint64_t piece_bytes) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    DownloadWatch watch;
    const uint64_t before = *arrived_;
    watch.on_progress = [&] { *arrived_ = before + watch.fetched_bytes; };
    ::_exit(bring(ops, piece_bytes, watch).ok() ? 0 : 1);
  }
  static int status_of(pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  // No byte that counts as held is another one than the hub's. How many are missing.
  uint64_t check_and_count_missing() {
    uint64_t missing = 0;
    for (const auto& [name, truth] : files_) {
      const fs::path path = folder() / name;
      if (fs::exists(path)) {
        EXPECT_EQ(read_file(path, 1 << 28).value(), truth) << name;
        continue;
      }
      missing += truth.size();
      const auto record = read_sparse_record(path);
      EXPECT_TRUE(record.ok()) << record.error().message;
      if (!record.ok() || !*record) continue;
      const std::string bytes = read_file(partial_path(path), 1 << 28).value();
      EXPECT_EQ(bytes.size(), truth.size());
      for (const ByteRange& range : (*record)->held.ranges())
        EXPECT_EQ(std::string_view(bytes).substr(range.begin, range.size()),
                  std::string_view(truth).substr(range.begin, range.size()))
            << name << " " << range.begin;
      missing -= (*record)->held.bytes();
    }
    return missing;
  }
  void expect_all_here() {
    EXPECT_EQ(check_and_count_missing(), 0u);
    for (const auto& [name, truth] : files_)
      EXPECT_FALSE(fs::exists(record_path(folder() / name))) << name;
  }

  // Bytes that children got from the hub: what it sent may be lost on the way to one that dies.
  std::atomic<uint64_t>* const arrived_ =
      new (::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
          std::atomic<uint64_t>(0);
  fs::path root_;
  std::map<std::string, std::string> files_;
  std::unique_ptr<HubDouble> hub_;
};

TEST_F(DownloadFaultsTest, APowerCutAtEveryStepCostsNothingThatWasKept) {
  constexpr uint64_t kPiece = 40'000;
  make_repo(60'000);
  int steps = 1;
  for (bool died = true; died && steps < 400; ++steps) {
    SCOPED_TRACE("step " + std::to_string(steps));
    fs::remove_all(root_ / "downloads");
    DyingOps ops(steps);
    const int status = status_of(start(ops, kPiece));
    died = status == -SIGKILL;
    ASSERT_TRUE(died || status == 0) << status;
    const uint64_t missing = check_and_count_missing();
    EXPECT_TRUE(died || missing == 0);
    DownloadWatch watch;
    const auto resumed = bring(real_file_ops(), kPiece, watch);
    ASSERT_TRUE(resumed.ok()) << resumed.error().message;
    EXPECT_EQ(watch.fetched_bytes, missing) << "what was kept came again";
    expect_all_here();
  }
  EXPECT_GT(steps, 60);
  EXPECT_LT(steps, 400);
}

// A file in which a neighbour's byte was wrong, and whose pieces have hashes: neither the doubt nor
// the hashes may leave anything half done.
TEST_F(DownloadFaultsTest, APowerCutAtEveryStepOfACopyWithAWrongByte) {
  constexpr uint64_t kMiB = 1u << 20;
  make_repo(2 * kMiB + 1);
  const std::string& truth = files_.at("model.safetensors");
  const fs::path path = folder() / "model.safetensors";
  const auto bring_file = [&](FileOps& ops) -> Result<void> {
    for (;;) {
      const auto writer = TRY(SparseWriter::open(ops, path, {truth.size(), sha256(truth), "c"}));
      std::string bytes = truth;
      const bool first = writer->held().empty();
      if (first) bytes[2 * kMiB] ^= 1;
      if (first)
        TRY(writer->write(kMiB, std::string_view(bytes).substr(kMiB, 2 * kMiB),
                          SparseWriter::From::neighbour));
      for (const ByteRange& range : writer->missing_of({0, truth.size()}).ranges())
        TRY(writer->write(range.begin, std::string_view(bytes).substr(range.begin, range.size())));
      const auto finished = writer->finish();
      if (finished.ok() || finished.error().code != ErrorCode::corrupt) return finished;
      EXPECT_EQ(writer->held().bytes(), truth.size() - 2 * kMiB);
    }
  };
  int steps = 1;
  for (bool died = true; died && steps < 100; ++steps) {
    SCOPED_TRACE("step " + std::to_string(steps));
    fs::remove_all(root_ / "downloads");
    DyingOps ops(steps);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(bring_file(ops).ok() ? 0 : 1);
    const int status = status_of(child);
    died = status == -SIGKILL;
    ASSERT_TRUE(died || status == 0) << status;
    const auto resumed = bring_file(real_file_ops());
    ASSERT_TRUE(resumed.ok()) << resumed.error().message;
    EXPECT_EQ(read_file(path, 1 << 28).value(), truth);
    EXPECT_FALSE(fs::exists(record_path(path)));
    const std::string hashes = read_file(hashes_path(path), 1 << 20).value();
    EXPECT_EQ(right_pieces(path, truth.size(), sha256(truth), hashes).value(),
              RangeSet(ByteRange{0, truth.size()}));
  }
  EXPECT_GT(steps, 15);
}

TEST_F(DownloadFaultsTest, KilledAtAnyMomentItFetchesLessThanAPieceAgainPerConnection) {
  constexpr uint64_t kPiece = 256u << 10;
  make_repo(4u << 20);
  hub_->behave("speed=1000000");  // of each connection
  int kills = 0;
  for (int round = 0; round < 6; ++round) {
    const pid_t child = start(real_file_ops(), kPiece);
    ::usleep(static_cast<useconds_t>(170'000 + 97'000 * round));
    ::kill(child, SIGKILL);
    kills += status_of(child) == -SIGKILL ? 1 : 0;
    check_and_count_missing();
  }
  EXPECT_GE(kills, 3);
  hub_->behave();
  DownloadWatch watch;
  const auto resumed = bring(real_file_ops(), kPiece, watch);
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  expect_all_here();
  uint64_t all = 0;
  for (const auto& [name, bytes] : files_) all += bytes.size();
  const uint64_t arrived = *arrived_ + watch.fetched_bytes;
  EXPECT_LE(arrived, all + static_cast<uint64_t>(kills) * kConnections * kPiece);
}

TEST_F(DownloadFaultsTest, AFullDiskIsSaidBeforeTheFirstByteAndCanBeResumedLater) {
  make_repo(1u << 20);
  FullOps ops;
  ops.said = 1000;
  DownloadWatch watch;
  const auto refused = bring(ops, 1u << 20, watch);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::resource_exhausted);
  EXPECT_NE(refused.error().message.find("EXO_HOME"), std::string::npos) << refused.error().message;
  EXPECT_EQ(watch.fetched_bytes, 0u);

  ops.said = 1u << 30;
  ops.left = 1'200'000;  // others fill it meanwhile
  const auto full = bring(ops, 100'000, watch);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::resource_exhausted) << full.error().message;
  const uint64_t missing = check_and_count_missing();
  EXPECT_LT(missing, weight_bytes());

  ops.left = 1u << 30;
  DownloadWatch second;
  ASSERT_TRUE(bring(ops, 100'000, second).ok());
  EXPECT_EQ(second.fetched_bytes, missing);
  expect_all_here();
}

TEST_F(DownloadFaultsTest, AFolderThatCannotBeWrittenIsNamed) {
  make_repo(1000);
  std::ofstream(root_ / "downloads") << "a file where the folder should be";
  DownloadWatch watch;
  const auto refused = bring(real_file_ops(), 1u << 20, watch);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::permission_denied);
  EXPECT_NE(refused.error().message.find((root_ / "downloads").string()), std::string::npos)
      << refused.error().message;
}

TEST_F(DownloadFaultsTest, TwoProgramsFetchOneModelOnce) {
  make_repo(1u << 20);
  hub_->behave("speed=2000000");
  const pid_t other = start(real_file_ops(), 1u << 20);
  DownloadWatch watch;
  const auto mine = bring(real_file_ops(), 1u << 20, watch);
  ASSERT_TRUE(mine.ok()) << mine.error().message;
  EXPECT_EQ(status_of(other), 0);
  expect_all_here();
  EXPECT_LE(static_cast<uint64_t>(hub_->sent("model.safetensors")), weight_bytes());
}

}  // namespace
}  // namespace exo
