#include "networking/grpc_transport.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "networking/test_support.h"

namespace exo {
namespace {

class GrpcTransportTest : public ::testing::Test {
 protected:
  void up(LinkedNode& a, LinkedNode& b) {
    a.connect_to(b);
    ASSERT_TRUE(a.handler.wait_up(b.id()));
    ASSERT_TRUE(b.handler.wait_up(a.id()));
  }
  TemporaryFolder home_;
};

TEST_F(GrpcTransportTest, MessagesGoBothWaysInOrder) {
  LinkedNode a(home_.path()), b(home_.path());
  up(a, b);
  constexpr uint64_t kCount = 1000;
  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_TRUE(a.transport->send(b.id(), PlacementGone{{i}}));
    EXPECT_TRUE(b.transport->send(a.id(), PlacementGone{{i}}));
  }
  for (LinkedNode* node : {&a, &b})
    for (uint64_t i = 0; i < kCount; ++i)
      ASSERT_EQ(std::get<PlacementGone>(node->handler.next_message()).placement.value, i);
}

TEST_F(GrpcTransportTest, HiddenStatesOf16MiBArriveWhole) {
  LinkedNode a(home_.path()), b(home_.path());
  up(a, b);
  auto bytes = std::make_shared<std::vector<std::byte>>(16u << 20);
  for (size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = static_cast<std::byte>(i * 31 >> 3);
  Forward forward;
  forward.batch.entries.push_back({{7}, 0, {}, 1024, 1});
  forward.hidden = {WireDtype::f32, 1024, 4096, bytes};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(a.transport->send(b.id(), forward));
  for (int i = 0; i < 3; ++i) {
    const Message message = b.handler.next_message();
    ASSERT_TRUE(std::holds_alternative<Forward>(message));
    EXPECT_TRUE(*std::get<Forward>(message).hidden.bytes == *bytes);
  }
}

TEST_F(GrpcTransportTest, TwoDialsAtOnceBecomeOneLink) {
  for (int round = 0; round < 20; ++round) {
    LinkedNode a(home_.path()), b(home_.path());
    a.connect_to(b);
    b.connect_to(a);
    ASSERT_TRUE(a.handler.wait_up(b.id()));
    ASSERT_TRUE(b.handler.wait_up(a.id()));
    a.transport->send(b.id(), Leave{"over the one link"});
    EXPECT_EQ(std::get<Leave>(b.handler.next_message()).reason, "over the one link");
    const std::scoped_lock lock(a.handler.mutex, b.handler.mutex);
    EXPECT_EQ(a.handler.ups[b.id()], 1);
    EXPECT_EQ(b.handler.ups[a.id()], 1);
  }
}

TEST_F(GrpcTransportTest, TheLargerIdMayBeTheOnlyOneThatCanDial) {
  LinkedNode a(home_.path()), b(home_.path());
  LinkedNode& larger = a.id() < b.id() ? b : a;
  LinkedNode& smaller = a.id() < b.id() ? a : b;
  smaller.transport->connect(larger.id(), {"127.0.0.1", 1, "loopback"});  // nobody answers there
  larger.connect_to(smaller);
  EXPECT_TRUE(larger.handler.wait_up(smaller.id()));
  EXPECT_TRUE(smaller.handler.wait_up(larger.id()));
}

TEST_F(GrpcTransportTest, AnAddressWithoutAnIdFindsItsNode) {
  LinkedNode a(home_.path()), b(home_.path());
  a.transport->connect({}, b.address());
  EXPECT_TRUE(a.handler.wait_up(b.id()));
  a.transport->connect({}, a.address());  // itself: given up silently
  EXPECT_TRUE(a.transport->send(b.id(), Leave{}));
}

TEST_F(GrpcTransportTest, TheBestOfSeveralAddressesIsTriedAndTheOthersToo) {
  LinkedNode a(home_.path()), b(home_.path());
  a.transport->connect(b.id(), {"127.0.0.1", 1, "thunderbolt"});
  PeerAddress wifi = b.address();
  wifi.interface_type = "wifi";
  a.transport->connect(b.id(), wifi);
  EXPECT_TRUE(a.handler.wait_up(b.id()));
}

TEST_F(GrpcTransportTest, ALinkGoesDownAndComesBackWithTheNode) {
  LinkedNode a(home_.path());
  auto b = std::make_unique<LinkedNode>(home_.path());
  const NodeId b_id = b->id();
  const uint16_t port = b->transport->port();
  up(a, *b);
  b->transport->stop();
  EXPECT_TRUE(a.handler.wait_down(b_id));
  EXPECT_FALSE(a.transport->send(b_id, Leave{}));
  b.reset();
  LinkedNode again(Identity::open({home_.path(), ""}).value(), port);
  ASSERT_EQ(again.id(), b_id);  // the slot was free: same identity
  EXPECT_TRUE(a.handler.wait_up(b_id));
  EXPECT_TRUE(again.handler.wait_up(a.id()));
}

TEST_F(GrpcTransportTest, DisconnectEndsTheLinkAndTheDialling) {
  LinkedNode a(home_.path()), b(home_.path());
  up(a, b);
  a.transport->disconnect(b.id());
  EXPECT_TRUE(a.handler.wait_down(b.id()));
  EXPECT_TRUE(b.handler.wait_down(a.id()));
}

TEST_F(GrpcTransportTest, AnotherClusterIsRefusedWithWhatToDo) {
  TemporaryFolder elsewhere;
  LinkedNode a(home_.path()), stranger(elsewhere.path());
  a.connect_to(stranger);
  const std::string why = a.handler.first_refusal();
  EXPECT_NE(why.find("belongs to another cluster: run `exo invite`"), std::string::npos) << why;
  const std::lock_guard lock(stranger.handler.mutex);
  EXPECT_TRUE(stranger.handler.ups.empty());
}

TEST_F(GrpcTransportTest, ARevokedNodeIsRefusedByBothSides) {
  LinkedNode a(home_.path()), b(home_.path());
  up(a, b);
  a.transport->set_revoked({b.id()});
  EXPECT_TRUE(a.handler.wait_down(b.id()));
  b.connect_to(a);  // does not know yet
  const std::string why = b.handler.first_refusal();
  EXPECT_NE(why.find("was removed from this cluster"), std::string::npos) << why;
  b.transport->stop();
  a.transport->stop();
  EXPECT_EQ(a.handler.ups[b.id()], 1);
  EXPECT_EQ(b.handler.ups[a.id()], 1);
}

TEST_F(GrpcTransportTest, GarbageOnThePortHarmsNobody) {
  LinkedNode a(home_.path()), b(home_.path());
  std::vector<int> sockets;
  for (int i = 0; i < 50; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(a.transport->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    std::vector<std::byte> noise(static_cast<size_t>(1 + i * 97));
    real_world().random_bytes(noise);
    if (i % 3 == 0) noise[0] = std::byte{0x16};  // looks like a TLS record
    (void)!::send(fd, noise.data(), noise.size(), MSG_NOSIGNAL);
    sockets.push_back(fd);
  }
  up(a, b);
  for (const int fd : sockets) ::close(fd);
  EXPECT_TRUE(a.transport->send(b.id(), Leave{"still here"}));
  EXPECT_EQ(std::get<Leave>(b.handler.next_message()).reason, "still here");
}

TEST_F(GrpcTransportTest, IPv6Works) {
  LinkedNode a(home_.path());
  GrpcTransportOptions options;
  options.identity = Identity::open({home_.path(), ""}).value();
  options.host = "::1";
  RecordingHandler handler;  // outlives the transport
  GrpcTransport b(options);
  if (!b.start(handler).ok()) GTEST_SKIP() << "no IPv6 here";
  a.transport->connect(options.identity->node_id(), {"::1", b.port(), "loopback"});
  EXPECT_TRUE(a.handler.wait_up(options.identity->node_id()));
}

TEST_F(GrpcTransportTest, AHostNameIsResolved) {
  LinkedNode a(home_.path()), b(home_.path());
  a.transport->connect(b.id(), {"localhost", b.transport->port(), "other"});
  EXPECT_TRUE(a.handler.wait_up(b.id()));
}

TEST_F(GrpcTransportTest, ATakenPortIsAnErrorThatSaysSo) {
  LinkedNode a(home_.path());
  GrpcTransportOptions options;
  options.identity = a.identity;
  options.host = "127.0.0.1";
  options.port = a.transport->port();
  RecordingHandler handler;
  GrpcTransport second(options);
  const Result<void> started = second.start(handler);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find("--node-port"), std::string::npos);
}

TEST_F(GrpcTransportTest, APeerThatDoesNotKeepUpIsDropped) {
  LinkedNode b(home_.path());
  GrpcTransportOptions options;
  options.identity = Identity::open({home_.path(), ""}).value();
  options.queue_bytes = 1 << 20;
  RecordingHandler handler;
  GrpcTransport a(options);
  ASSERT_TRUE(a.start(handler).ok());
  a.connect(b.id(), b.address());
  ASSERT_TRUE(handler.wait_up(b.id()));
  BandwidthProbe probe;
  probe.filler.resize(900 << 10);
  probe.size_bytes = static_cast<uint32_t>(probe.filler.size());
  bool refused = false;
  for (int i = 0; i < 10'000 && !refused; ++i) refused = !a.send(b.id(), probe);
  EXPECT_TRUE(refused);
  EXPECT_TRUE(handler.wait_down(b.id()));
}

}  // namespace
}  // namespace exo
