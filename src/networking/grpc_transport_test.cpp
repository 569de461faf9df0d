#include "networking/grpc_transport.h"

#include <gtest/gtest.h>

#include "networking/test_support.h"

namespace exo {
namespace {

using namespace std::chrono_literals;

TEST(GrpcTransport, TwoNodesOfOneClusterExchangeMessages) {
  TemporaryFolder home;
  LinkedNode a(home.path()), b(home.path());
  a.connect_to(b);
  ASSERT_TRUE(a.handler.wait_up(b.id()));
  ASSERT_TRUE(b.handler.wait_up(a.id()));
  EXPECT_TRUE(a.transport->send(b.id(), Leave{"hello b"}));
  EXPECT_TRUE(b.transport->send(a.id(), Leave{"hello a"}));
  EXPECT_EQ(std::get<Leave>(b.handler.next_message()).reason, "hello b");
  EXPECT_EQ(std::get<Leave>(a.handler.next_message()).reason, "hello a");
}

}  // namespace
}  // namespace exo
