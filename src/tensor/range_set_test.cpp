#include "tensor/range_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tensor/sparse_file.h"

namespace exo {
namespace {

// Against a set of single bytes.
TEST(RangeSetTest, IsASetOfBytes) {
  std::mt19937 random(7);
  const auto below = [&](uint64_t n) { return random() % n; };
  for (int round = 0; round < 300; ++round) {
    RangeSet a, b;
    std::set<uint64_t> bytes_a, bytes_b;
    for (int i = 0; i < 8; ++i) {
      for (auto [set, bytes] : {std::pair(&a, &bytes_a), std::pair(&b, &bytes_b)}) {
        const uint64_t begin = below(60), end = begin + below(10);
        set->add({begin, end});
        for (uint64_t at = begin; at < end; ++at) bytes->insert(at);
      }
    }
    EXPECT_EQ(a.bytes(), bytes_a.size());
    uint64_t prefix = 0;
    while (bytes_a.contains(prefix)) ++prefix;
    EXPECT_EQ(a.prefix_end(), prefix);
    std::set<uint64_t> difference;
    for (const uint64_t at : bytes_a)
      if (!bytes_b.contains(at)) difference.insert(at);
    const RangeSet without = a.without(b);
    EXPECT_EQ(without.bytes(), difference.size());
    for (const uint64_t at : difference) EXPECT_TRUE(without.contains(ByteRange{at, at + 1}));
    EXPECT_EQ(a.contains(b), b.without(a).empty());
    const RangeSet both = a.common(b);
    EXPECT_EQ(both, b.common(a));
    EXPECT_TRUE(a.contains(both) && b.contains(both));
    EXPECT_EQ(both.bytes() + a.without(b).bytes(), a.bytes());
    const auto ranges = a.ranges();
    for (size_t i = 1; i < ranges.size(); ++i) EXPECT_GT(ranges[i].begin, ranges[i - 1].end);
    const RangeSet wide = a.bridged(5);
    EXPECT_TRUE(wide.contains(a));
    const auto fewer = wide.ranges();
    for (size_t i = 1; i < fewer.size(); ++i) EXPECT_GE(fewer[i].begin - fewer[i - 1].end, 5u);
  }
}

TEST(SparseRecordTest, ReadsWhatItWritesAndNothingElse) {
  SparseRecord record{100, "sha256:ab", "c0ffee", RangeSet(ByteRange{10, 20})};
  record.held.add({30, 40});
  record.proved.add({30, 35});
  const auto read = parse_sparse_record(to_text(record));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->held, record.held);
  EXPECT_EQ(read->proved, record.proved);
  EXPECT_EQ(read->size, 100u);
  for (const char* wrong :
       {"", "[]", "{}", R"({"size":5,"held":[[0,6]]})", R"({"size":5,"held":[[3,3]]})",
        R"({"size":-5,"held":[]})", R"({"size":5,"held":[[0,2]],"proved":[[0,6]]})",
        R"({"size":5,"held":[[0]]})", R"({"size":5,"held":["a"]})"})
    EXPECT_FALSE(parse_sparse_record(wrong).ok()) << wrong;
}

}  // namespace
}  // namespace exo
