#include "download/sparse_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"
#include "download/test_hub.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

class SparseStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("exo-sparse-" + std::to_string(getpid()));
    fs::remove_all(folder_);
    file_ = folder_ / "model.safetensors";
    for (int i = 0; i < 10'000; ++i) truth_ += static_cast<char>(i * 7 + i / 256);
    wanted_ = {truth_.size(), sha256(truth_), "c0ffee", {}};
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string_view part(ByteRange range) const {
    return std::string_view(truth_).substr(range.begin, range.size());
  }
  // What a download does; `missing` in the order given.
  Result<void> bring(FileOps& ops, const std::vector<ByteRange>& ranges, bool finish) {
    const auto writer = TRY(SparseWriter::open(ops, file_, wanted_));
    for (const ByteRange& range : ranges) {
      TRY(writer->write(range.begin, part(range)));
      TRY(writer->commit());
    }
    TRY(writer->hash_some(100));
    return finish ? writer->finish() : Result<void>();
  }
  std::string bytes_of(const fs::path& path) { return read_file(path, 1 << 20).value(); }

  // The store never names a byte that is not true. What is missing then.
  RangeSet check_and_list_missing() {
    const RangeSet all(ByteRange{0, truth_.size()});
    if (fs::exists(file_)) {
      EXPECT_EQ(bytes_of(file_), truth_);
      return {};
    }
    const auto record = read_sparse_record(file_);
    EXPECT_TRUE(record.ok()) << record.error().message;
    if (!record.ok() || !*record) return all;
    const std::string held = bytes_of(partial_path(file_));
    EXPECT_EQ(held.size(), truth_.size());
    for (const ByteRange& range : (*record)->held.ranges())
      EXPECT_EQ(std::string_view(held).substr(range.begin, range.size()), part(range));
    return all.without((*record)->held);
  }

  fs::path folder_, file_;
  std::string truth_;
  SparseRecord wanted_;
};

TEST_F(SparseStoreTest, WhatIsThereIsNotWrittenOver) {
  const auto writer = SparseWriter::open(real_file_ops(), file_, wanted_).value();
  EXPECT_EQ(writer->write(100, part({100, 200})).value().bytes(), 100u);
  const auto second =
      writer->write(50, std::string(200, 'x'), SparseWriter::From::neighbour).value();
  EXPECT_EQ(second.ranges(), (std::vector<ByteRange>{{50, 100}, {200, 250}}));
  EXPECT_EQ(bytes_of(partial_path(file_)).substr(100, 100), part({100, 200}));
}

TEST_F(SparseStoreTest, HashesWhatIsInMemoryWithoutReadingItBack) {
  const auto writer = SparseWriter::open(real_file_ops(), file_, wanted_).value();
  ASSERT_TRUE(writer->write(0, truth_).ok());
  std::ofstream(partial_path(file_), std::ios::in | std::ios::binary) << "other bytes";
  writer->hash(part({0, 6000}));
  EXPECT_EQ(writer->hashed_bytes(), 6000u);
  EXPECT_EQ(writer->hash_some(truth_.size()).value(), truth_.size() - 6000) << "the rest, read";
  EXPECT_TRUE(writer->finish().ok());
}

TEST_F(SparseStoreTest, SurvivesAPowerCutAtEveryStep) {
  const std::vector<ByteRange> order = {{3000, 6000}, {0, 3000}, {8000, 10'000}, {6000, 8000}};
  int steps = 1;
  for (bool died = true; died; ++steps) {
    fs::remove_all(folder_);
    const pid_t child = ::fork();
    if (child == 0) {
      DyingOps ops(steps);
      ::_exit(bring(ops, order, true).ok() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    died = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    ASSERT_TRUE(died || status == 0) << "step " << steps;
    const RangeSet missing = check_and_list_missing();
    EXPECT_TRUE(died || missing.empty());
    const auto resumed = bring(real_file_ops(), missing.ranges(), true);
    ASSERT_TRUE(resumed.ok()) << "step " << steps << ": " << resumed.error().message;
    ASSERT_EQ(bytes_of(file_), truth_) << "step " << steps;
    EXPECT_FALSE(fs::exists(record_path(file_)));
  }
  EXPECT_GT(steps, 30);
}

TEST_F(SparseStoreTest, KeepsWhatWasCommittedAndNoMore) {
  ASSERT_TRUE(bring(real_file_ops(), {{3000, 6000}}, false).ok());
  EXPECT_EQ(check_and_list_missing().bytes(), 7000u);
  {
    const auto writer = SparseWriter::open(real_file_ops(), file_, wanted_).value();
    ASSERT_TRUE(writer->write(0, part({0, 10})).ok());  // and no commit
  }
  EXPECT_EQ(check_and_list_missing().bytes(), 7000u);
  SparseRecord other = wanted_;
  other.revision = "decaf";
  const auto writer = SparseWriter::open(real_file_ops(), file_, other).value();
  EXPECT_TRUE(writer->held().empty()) << "bytes of another commit must not be kept";
}

TEST_F(SparseStoreTest, ThrowsAwayWhatHashesToSomethingElse) {
  const auto writer = SparseWriter::open(real_file_ops(), file_, wanted_).value();
  std::string wrong = truth_;
  wrong[5000] ^= 1;
  ASSERT_TRUE(writer->write(0, wrong).ok());
  const auto finished = writer->finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_EQ(finished.error().code, ErrorCode::corrupt);
  EXPECT_FALSE(fs::exists(file_));
  EXPECT_FALSE(fs::exists(partial_path(file_)));
  EXPECT_FALSE(writer->write(9999, "abc").ok()) << "beyond the end";
}

TEST_F(SparseStoreTest, KnowsGitsHash) {
  wanted_.size = 6;
  wanted_.oid = "git:ce013625030ba8dba906f756967f9e9ca394464a";  // of "hello\n"
  const auto writer = SparseWriter::open(real_file_ops(), file_, wanted_).value();
  ASSERT_TRUE(writer->write(0, "hello\n").ok());
  EXPECT_TRUE(writer->finish().ok());
  EXPECT_TRUE(writer->complete());
}

}  // namespace
}  // namespace exo
