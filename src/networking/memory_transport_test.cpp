#include "networking/memory_transport.h"

#include <gtest/gtest.h>

#include "networking/test_support.h"

namespace exo {
namespace {

class MemoryTransportTest : public ::testing::Test {
 protected:
  MemoryTransportTest() {
    EXPECT_TRUE(a_->start(a_handler_).ok());
    EXPECT_TRUE(b_->start(b_handler_).ok());
  }
  void up() {
    a_->connect(b_id_, {});
    ASSERT_TRUE(a_handler_.wait_up(b_id_));
    ASSERT_TRUE(b_handler_.wait_up(a_id_));
  }
  const NodeId a_id_{std::string(32, 'a')}, b_id_{std::string(32, 'b')};
  RecordingHandler a_handler_, b_handler_;
  MemoryHub hub_;
  std::unique_ptr<Transport> a_ = hub_.create(a_id_), b_ = hub_.create(b_id_);
};

TEST_F(MemoryTransportTest, MessagesArriveInOrder) {
  EXPECT_FALSE(a_->send(b_id_, Leave{}));
  up();
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_TRUE(a_->send(b_id_, PlacementGone{{i}}));
  for (uint64_t i = 0; i < 1000; ++i)
    ASSERT_EQ(std::get<PlacementGone>(b_handler_.next_message()).placement.value, i);
}

TEST_F(MemoryTransportTest, ACutLinkIsDownUntilHealed) {
  up();
  hub_.cut(a_id_, b_id_);
  EXPECT_TRUE(a_handler_.wait_down(b_id_));
  EXPECT_TRUE(b_handler_.wait_down(a_id_));
  EXPECT_FALSE(a_->send(b_id_, Leave{}));
  a_->connect(b_id_, {});  // changes nothing
  EXPECT_FALSE(a_->send(b_id_, Leave{}));
  hub_.heal(a_id_, b_id_);
  EXPECT_TRUE(a_handler_.wait_up(b_id_));
  EXPECT_TRUE(a_->send(b_id_, Leave{"again"}));
  EXPECT_EQ(std::get<Leave>(b_handler_.next_message()).reason, "again");
}

TEST_F(MemoryTransportTest, APausedNodeHearsLater) {
  up();
  hub_.pause(b_id_);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(a_->send(b_id_, Leave{}));
  hub_.resume(b_id_);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(std::get<Leave>(b_handler_.next_message()).reason, "");
}

TEST_F(MemoryTransportTest, AQueueThatFillsUpDropsTheLink) {
  up();
  hub_.pause(b_id_);
  bool sent = true;
  for (int i = 0; i < 10'000 && sent; ++i) sent = a_->send(b_id_, Leave{});
  EXPECT_FALSE(sent);
  EXPECT_TRUE(a_handler_.wait_down(b_id_));
}

TEST_F(MemoryTransportTest, AKilledNodeIsNeverHeardOfAgain) {
  up();
  hub_.kill(b_id_);
  EXPECT_TRUE(a_handler_.wait_down(b_id_));
  EXPECT_FALSE(b_->send(a_id_, Leave{}));
  EXPECT_FALSE(a_->send(b_id_, Leave{}));
}

}  // namespace
}  // namespace exo
