#include "download/running_hash.h"

#include <gtest/gtest.h>

#include <random>

namespace exo {
namespace {

TEST(RunningHash, IsSha256WhereverItIsHandedOver) {
  EXPECT_EQ(RunningHash().hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  RunningHash abc;
  abc.add("abc");  // FIPS 180-4's example
  EXPECT_EQ(abc.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

  std::mt19937 random(1);
  std::string data(5000, '\0');
  for (char& c : data) c = static_cast<char>(random());
  RunningHash whole;
  whole.add(data);
  for (int trial = 0; trial < 200; ++trial) {
    RunningHash carried;
    for (size_t at = 0; at < data.size();) {
      const size_t count = std::min<size_t>(random() % 300, data.size() - at);
      carried.add(std::string_view(data).substr(at, count));
      at += count;
      carried = RunningHash::resume(carried.state()).value();
      EXPECT_EQ(carried.hashed_bytes(), at);
    }
    ASSERT_EQ(carried.hex(), whole.hex());
  }
}

TEST(RunningHash, RefusesWhatIsNoState) {
  RunningHash hash;
  hash.add("some bytes");
  const std::string state = hash.state();
  EXPECT_EQ(state.size(), 50);
  for (size_t size = 0; size < state.size(); ++size)
    EXPECT_FALSE(RunningHash::resume(state.substr(0, size)).ok()) << size;
  EXPECT_FALSE(RunningHash::resume(state + "x").ok());
  EXPECT_FALSE(RunningHash::resume(std::string(40, '\xff')).ok());
}

}  // namespace
}  // namespace exo
