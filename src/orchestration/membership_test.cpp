#include "orchestration/membership.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() : context_{.options = options()}, membership_(context_) { context_.now_us = 1; }
  static CoreOptions options() {
    CoreOptions options;
    options.self.id = NodeId{"self"};
    options.self.incarnation = 1;
    return options;
  }
  static NodeInfo info(uint64_t incarnation, uint64_t version) {
    NodeInfo info;
    info.id = kPeer;
    info.name = "peer";
    info.incarnation = incarnation;
    info.version = version;
    info.addresses = {{"10.0.0.2", 7, "ethernet"}};
    return info;
  }
  void at(int64_t now_us) {
    context_.now_us = now_us;
    membership_.tick({});
  }
  bool connects() {
    bool found = false;
    for (const CoreEffect& effect : context_.effects)
      found |= std::holds_alternative<ConnectPeer>(effect);
    context_.effects.clear();
    return found;
  }
  inline static const NodeId kPeer{"peer"};
  inline static const NodeId kOther{"other"};
  CoreContext context_;
  Membership membership_;
};

TEST_F(MembershipTest, SilenceIsSuspectedThenDead) {
  membership_.link_up(kPeer);
  membership_.on_gossip(kPeer, {{info(1, 1)}});
  at(1'900'000);
  EXPECT_TRUE(membership_.healthy(kPeer));
  at(2'100'000);
  EXPECT_FALSE(membership_.healthy(kPeer));
  EXPECT_TRUE(membership_.present(kPeer));
  EXPECT_TRUE(membership_.take_lost().empty());
  at(5'100'000);
  EXPECT_FALSE(membership_.present(kPeer));
  ASSERT_EQ(membership_.take_lost().size(), 1u);
}

TEST_F(MembershipTest, ABrokenLinkThatComesBackIsNoDeath) {
  membership_.link_up(kPeer);
  membership_.on_gossip(kPeer, {{info(1, 1)}});
  membership_.link_down(kPeer);
  at(900'000);
  membership_.link_up(kPeer);
  at(1'500'000);
  EXPECT_TRUE(membership_.healthy(kPeer));
  EXPECT_TRUE(membership_.take_lost().empty());
  membership_.link_down(kPeer);
  at(2'600'000);
  EXPECT_EQ(membership_.take_lost().size(), 1u);
}

TEST_F(MembershipTest, GossipDoesNotRaiseTheDead) {
  membership_.link_up(kOther);
  membership_.link_up(kPeer);
  membership_.on_gossip(kPeer, {{info(1, 5)}});
  membership_.link_down(kPeer);
  at(1'100'000);
  membership_.on_gossip(kOther, {{info(1, 5)}});
  EXPECT_EQ(membership_.info(kPeer), nullptr);
  membership_.on_gossip(kOther, {{info(1, 6)}});  // written after its death here: it lives
  EXPECT_NE(membership_.info(kPeer), nullptr);
  EXPECT_FALSE(membership_.reachable(kPeer));
}

TEST_F(MembershipTest, ALifeThatLeftStaysGoneAndTheNextOneIsWelcome) {
  membership_.link_up(kPeer);
  membership_.on_gossip(kPeer, {{info(1, 5)}});
  membership_.on_leave(kPeer);
  EXPECT_EQ(membership_.take_lost().size(), 1u);
  membership_.on_gossip(kOther, {{info(1, 9)}});
  EXPECT_FALSE(membership_.present(kPeer));
  membership_.on_gossip(kOther, {{info(2, 1)}});
  EXPECT_TRUE(membership_.present(kPeer));
}

TEST_F(MembershipTest, ARestartEndsTheOldLife) {
  membership_.link_up(kPeer);
  membership_.on_gossip(kPeer, {{info(1, 5)}});
  membership_.on_gossip(kPeer, {{info(2, 1)}});
  const auto lost = membership_.take_lost();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_TRUE(lost[0].final);
  EXPECT_TRUE(membership_.healthy(kPeer));
  membership_.on_gossip(kPeer, {{info(1, 99)}});  // late words of the old life
  EXPECT_EQ(membership_.info(kPeer)->incarnation, 2u);
}

TEST_F(MembershipTest, ANodeKnownByHearsayIsDialled) {
  membership_.link_up(kOther);
  membership_.on_gossip(kOther, {{info(1, 1)}});
  EXPECT_FALSE(membership_.reachable(kPeer));
  context_.effects.clear();
  at(100'000);
  EXPECT_TRUE(connects());
  at(200'000);
  EXPECT_FALSE(connects());
}

}  // namespace
}  // namespace exo
