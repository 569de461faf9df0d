// A member of the cluster that speaks nonsense: the link closes, the node lives.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include "networking/grpc_stream.h"
#include "networking/link_frame.h"
#include "networking/test_support.h"

namespace exo {
namespace {

class RawPeer : public LinkStreamOwner {
 public:
  RawPeer(const Identity& identity, uint16_t port) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("node.exo");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto credentials =
        grpc::SslCredentials({identity.cluster_certificate_pem(), identity.node_key_pem(),
                              identity.node_certificate_pem()});
    stream_ = dial_stream(
        *this,
        grpc::CreateCustomChannel("ipv4:127.0.0.1:" + std::to_string(port), credentials, arguments),
        {}, {});
    stream_->read_next();
  }
  ~RawPeer() override {
    stream_->close(grpc::Status::CANCELLED);
    wait_closed();
    stream_.reset();
    live_->wait_for_none();
  }
  void send(grpc::ByteBuffer frame) { stream_->write(std::move(frame), {1 << 20, 100}); }
  void send(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    send(grpc::ByteBuffer(&slice, 1));
  }
  grpc::Status wait_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, RecordingHandler::kPatience, [&] { return closed_; });
    EXPECT_TRUE(closed_);
    return status_;
  }

  const std::shared_ptr<LiveStreams>& live() override { return live_; }
  void on_frame(const std::shared_ptr<LinkStream>& stream, grpc::ByteBuffer&) override {
    stream->read_next();
  }
  void on_closed(const std::shared_ptr<LinkStream>&, const grpc::Status& why) override {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    status_ = why;
    changed_.notify_all();
  }

 private:
  const std::shared_ptr<LiveStreams> live_ = std::make_shared<LiveStreams>();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  grpc::Status status_;
  std::shared_ptr<LinkStream> stream_;
};

class HostilePeerTest : public ::testing::Test {
 protected:
  TemporaryFolder home_;
  LinkedNode node_{home_.path()};
  std::shared_ptr<const Identity> peer_ = Identity::open({home_.path(), ""}).value();
};

TEST_F(HostilePeerTest, NonsenseInsteadOfAGreeting) {
  for (const std::string& first :
       {std::string("nonsense"), std::string(), std::string("EXL\x01H", 5),
        std::string("EXL\x01"
                    "Cxxxxxxxx"),
        std::string(5000, 'x')}) {
    RawPeer raw(*peer_, node_.transport->port());
    raw.send(first);
    EXPECT_FALSE(raw.wait_closed().ok());
  }
}

TEST_F(HostilePeerTest, AnotherVersionIsToldSo) {
  RawPeer raw(*peer_, node_.transport->port());
  raw.send(std::string("EXL\x07H12345678"));
  EXPECT_NE(raw.wait_closed().error_message().find("version 7"), std::string::npos);
}

TEST_F(HostilePeerTest, AMalformedMessageClosesTheLinkAndNothingElse) {
  {
    RawPeer raw(*peer_, node_.transport->port());
    raw.send(link_frame(LinkFrame::hello, 1));
    raw.send(link_frame(LinkFrame::accepted));
    if (peer_->node_id() < node_.id()) raw.send(link_frame(LinkFrame::chosen));
    ASSERT_TRUE(node_.handler.wait_up(peer_->node_id()));
    raw.send(std::string("EXO\x01 and then something else"));
    EXPECT_TRUE(node_.handler.wait_down(peer_->node_id()));
    EXPECT_FALSE(raw.wait_closed().ok());
  }
  LinkedNode honest(home_.path());
  honest.connect_to(node_);
  EXPECT_TRUE(honest.handler.wait_up(node_.id()));
  const std::lock_guard lock(node_.handler.mutex);
  EXPECT_TRUE(node_.handler.messages.empty());
}

}  // namespace
}  // namespace exo
