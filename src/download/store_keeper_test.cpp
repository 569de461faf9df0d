#include "download/store_keeper.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "download/test_hub.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class StoreKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("exo-keeper-" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  StoreKeeper::Files open(const std::string& truth, bool becomes_whole = true) {
    StoreKeeper::Files files;
    files.push_back({SparseWriter::open(real_file_ops(), folder_ / "weights",
                                        {truth.size(), sha256(truth), "c0ffee", {}})
                         .value(),
                     becomes_whole});
    return files;
  }
  static void end(StoreKeeper& keeper) {
    keeper.close();
    while (!keeper.wait(1000)) {
    }
  }

  fs::path folder_;
};

TEST_F(StoreKeeperTest, HashingIsGivenUpAtOnceAndTheNextStartProvesWithoutAnotherByte) {
  const std::string truth(96u << 20, 'x');
  {
    const auto files = open(truth);
    ASSERT_TRUE(files[0].writer->write(0, truth).ok());
    StoreKeeper keeper(files, real_world(), 1u << 20);
    keeper.abandon();
    while (!keeper.wait(1000)) {
    }
    EXPECT_TRUE(keeper.error().ok());
    ASSERT_FALSE(files[0].writer->complete());
    EXPECT_FALSE(files[0].writer->all_hashed());
  }
  const auto record = read_sparse_record(folder_ / "weights").value();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->held.bytes(), truth.size()) << "what came is kept";
  const auto files = open(truth);
  StoreKeeper keeper(files, real_world(), 1u << 20);
  end(keeper);
  EXPECT_TRUE(keeper.error().ok());
  EXPECT_TRUE(files[0].writer->complete());
  EXPECT_TRUE(fs::exists(folder_ / "weights"));
}

TEST_F(StoreKeeperTest, APartIsFlushedButNotHashed) {
  const std::string truth(1u << 20, 'y');
  const auto files = open(truth, false);
  ASSERT_TRUE(files[0].writer->write(0, truth.substr(0, 1000)).ok());
  StoreKeeper keeper(files, real_world(), 1u << 20);
  end(keeper);
  EXPECT_TRUE(keeper.error().ok());
  EXPECT_FALSE(files[0].writer->complete());
  EXPECT_EQ(files[0].writer->hash_some(truth.size()).value(), 1000u) << "none of it was hashed yet";
  EXPECT_EQ(read_sparse_record(folder_ / "weights").value()->held.bytes(), 1000u);
}

TEST_F(StoreKeeperTest, PiecesInAnyOrderSomeOfThemOfferedGiveTheSameHash) {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::string truth(100'000 + random() % 1000, ' ');
    for (char& c : truth) c = static_cast<char>(random());
    fs::remove_all(folder_);
    const auto files = open(truth);
    StoreKeeper keeper(files, real_world(), 1u << 20);
    std::vector<uint64_t> begins;
    for (uint64_t begin = 0; begin < truth.size(); begin += 1000) begins.push_back(begin);
    for (size_t i = 1; i < begins.size(); ++i)  // mostly in order
      if (random() % 3 == 0) std::swap(begins[i - 1], begins[i]);
    for (const uint64_t begin : begins) {
      const std::string bytes = truth.substr(begin, 1000);
      ASSERT_TRUE(files[0].writer->write(begin, bytes).ok());
      if (random() % 4 != 0) keeper.offer(0, begin, bytes);
    }
    end(keeper);
    ASSERT_TRUE(keeper.error().ok()) << keeper.error().error().message;
    EXPECT_TRUE(files[0].writer->complete());
  }
}

TEST_F(StoreKeeperTest, AWrongFileIsSaidAndThrownAway) {
  const std::string truth(1u << 20, 'z');
  const auto files = open(truth);
  ASSERT_TRUE(files[0].writer->write(0, std::string(truth.size(), 'a')).ok());
  StoreKeeper keeper(files, real_world(), 1u << 20);
  end(keeper);
  ASSERT_FALSE(keeper.error().ok());
  EXPECT_EQ(keeper.error().error().code, ErrorCode::corrupt);
  EXPECT_FALSE(fs::exists(folder_ / "weights"));
}

}  // namespace
}  // namespace exo
