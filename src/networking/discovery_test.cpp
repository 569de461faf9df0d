#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "networking/announcement.h"
#include "networking/interfaces.h"
#include "networking/manual_discovery.h"
#include "networking/test_support.h"
#include "networking/udp_discovery.h"

namespace exo {
namespace {

// Collects sightings; waits are bounded only so that a broken test ends.
class Watcher {
 public:
  DiscoveryHandler handler() {
    return {[this](const PeerSighting& one) { add(peers, one); },
            [this](const ForeignSighting& one) { add(foreign, one); },
            [this](const std::string& one) { add(problems, one); }};
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), condition);
  }
  bool wait_for(const std::string& name, bool leaving = false) {
    return wait([&] {
      return std::any_of(peers.begin(), peers.end(), [&](const PeerSighting& one) {
        return one.name == name && one.leaving == leaving;
      });
    });
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<PeerSighting> peers;
  std::vector<ForeignSighting> foreign;
  std::vector<std::string> problems;

 private:
  template <class T>
  void add(std::vector<T>& to, const T& one) {
    const std::lock_guard lock(mutex);
    to.push_back(one);
    changed.notify_all();
  }
};

class UdpDiscoveryTest : public ::testing::Test {
 protected:
  UdpDiscoveryOptions options(const std::filesystem::path& home, const std::string& name) {
    UdpDiscoveryOptions out;
    out.identity = Identity::open({home, ""}).value();
    out.name = name;
    out.node_port = 4711;
    out.api_port = 52415;
    out.listen_port = out.broadcast_port = port_;
    out.loopback_only = true;
    return out;
  }
  const uint16_t port_ = static_cast<uint16_t>(20'000 + real_world().random_u64() % 12'000);
  TemporaryFolder home_;
};

TEST_F(UdpDiscoveryTest, NodesOfOneHostSeeEachOtherComeAndGo) {
  Watcher a_saw, b_saw;
  UdpDiscovery a(options(home_.path(), "a"));
  const UdpDiscoveryOptions b_options = options(home_.path(), "b");
  UdpDiscovery b(b_options);
  ASSERT_TRUE(a.start(a_saw.handler()).ok());
  ASSERT_TRUE(b.start(b_saw.handler()).ok());
  ASSERT_TRUE(a_saw.wait_for("b"));
  ASSERT_TRUE(b_saw.wait_for("a"));
  b.stop();
  EXPECT_TRUE(a_saw.wait_for("b", /*leaving=*/true));
  const std::lock_guard lock(a_saw.mutex);
  EXPECT_EQ(a_saw.peers[0].id, b_options.identity->node_id());
  EXPECT_EQ(a_saw.peers[0].address.port, 4711);
  EXPECT_EQ(a_saw.peers[0].address.interface_type, "loopback");
}

TEST_F(UdpDiscoveryTest, AnotherClusterIsListedAndNotMet) {
  TemporaryFolder elsewhere;
  Watcher a_saw, b_saw;
  UdpDiscovery a(options(home_.path(), "a"));
  const UdpDiscoveryOptions stranger = options(elsewhere.path(), "stranger");
  UdpDiscovery b(stranger);
  ASSERT_TRUE(a.start(a_saw.handler()).ok());
  ASSERT_TRUE(b.start(b_saw.handler()).ok());
  ASSERT_TRUE(a_saw.wait([&] { return !a_saw.foreign.empty(); }));
  const std::lock_guard lock(a_saw.mutex);
  EXPECT_EQ(a_saw.foreign[0].cluster_id, stranger.identity->cluster_id());
  EXPECT_EQ(a_saw.foreign[0].name, "stranger");
  EXPECT_TRUE(a_saw.peers.empty());
}

TEST_F(UdpDiscoveryTest, FiltersAndGarbage) {
  Watcher a_saw, b_saw, c_saw;
  UdpDiscoveryOptions picky = options(home_.path(), "a");
  picky.node_id_filter = {"c"};
  UdpDiscovery a(picky), b(options(home_.path(), "b")), c(options(home_.path(), "c"));
  ASSERT_TRUE(a.start(a_saw.handler()).ok());
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<std::byte> noise(1400);
  for (int i = 0; i < 100; ++i) {
    real_world().random_bytes(noise);
    ::sendto(fd, noise.data(), static_cast<size_t>(i * 14), 0, reinterpret_cast<sockaddr*>(&to),
             sizeof to);
  }
  ::close(fd);
  ASSERT_TRUE(b.start(b_saw.handler()).ok());
  ASSERT_TRUE(b_saw.wait_for("a"));
  ASSERT_TRUE(c.start(c_saw.handler()).ok());
  EXPECT_TRUE(a_saw.wait_for("c"));
  const std::lock_guard lock(a_saw.mutex);
  for (const PeerSighting& one : a_saw.peers) EXPECT_EQ(one.name, "c");
}

Announcement example() {
  return {std::string(16, 'c'), {std::string(32, 'a')}, "desk", 4711, 52415, "ethernet", 1000, 7};
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Announcement, RoundTripAndForgery) {
  const Announcement in = example();
  std::string bytes = encode_announcement(in, "key");
  const auto parsed = parse_announcement(bytes_of(bytes), in.cluster_id, "key");
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->foreign);
  EXPECT_EQ(parsed->announcement.name, "desk");
  EXPECT_EQ(parsed->announcement.sequence, 7u);
  EXPECT_TRUE(parse_announcement(bytes_of(bytes), std::string(16, 'd'), "other")->foreign);
  EXPECT_FALSE(parse_announcement(bytes_of(bytes), in.cluster_id, "other").ok());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string bent = bytes;
    bent[i] = static_cast<char>(bent[i] ^ 1);
    const auto result = parse_announcement(bytes_of(bent), in.cluster_id, "key");
    EXPECT_TRUE(!result.ok() || result->foreign) << "byte " << i;
  }
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(parse_announcement(bytes_of(bytes).first(size), in.cluster_id, "key").ok());
}

TEST(Announcement, ReplaysDoNothing) {
  ReplayGuard guard(30'000'000);
  Announcement one = example();
  EXPECT_TRUE(guard.fresh(one, 0));
  EXPECT_FALSE(guard.fresh(one, 1));
  one.sequence = 9;
  EXPECT_TRUE(guard.fresh(one, 2));
  one.sequence = 8;  // overtaken on another interface
  EXPECT_TRUE(guard.fresh(one, 3));
  EXPECT_FALSE(guard.fresh(one, 4));
  Announcement restarted = example();
  restarted.incarnation = 2000;
  restarted.sequence = 1;
  EXPECT_TRUE(guard.fresh(restarted, 5));
  one.sequence = 100;
  EXPECT_FALSE(guard.fresh(one, 6)) << "the old process is gone";
  one.leaving = true;
  EXPECT_FALSE(guard.fresh(one, 100'000'000)) << "a goodbye of somebody else";
  one.leaving = false;
  EXPECT_TRUE(guard.fresh(one, 100'000'000)) << "a clock set back must not lock a node out";
}

TEST(Interfaces, TypesAndLoopback) {
  EXPECT_EQ(interface_type_of("thunderbolt0"), "thunderbolt");
  EXPECT_EQ(interface_type_of("enp3s0"), "ethernet");
  EXPECT_EQ(interface_type_of("wlp2s0"), "wifi");
  EXPECT_EQ(interface_type_of("docker0"), "other");
  const auto found = list_interfaces();
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(std::any_of(found->begin(), found->end(),
                          [](const NetworkInterface& one) { return one.type == "loopback"; }));
}

TEST(ManualDiscovery, FileIsReadWatchedAndABadEditKeepsTheLastGoodSet) {
  TemporaryFolder home;
  const auto path = home.path() / "peers.json";
  const std::string me(32, '1');
  ASSERT_TRUE(write_file(path, R"({"peers": {
    "desk": {"address": "10.0.0.2", "port": 52416, "device_capabilities": {"model": "x"}},
    "me": {"address": "127.0.0.1", "port": 4711},
    "11111111111111111111111111111111": {"address": "10.0.0.9", "port": 1}}})")
                  .ok());
  Watcher saw;
  ManualDiscovery discovery({path, {me}, "", 4711, 10});
  ASSERT_TRUE(discovery.start(saw.handler()).ok());
  ASSERT_TRUE(saw.wait_for("desk"));
  ASSERT_TRUE(write_file(path, R"({"peers": {"desk": )").ok());
  ASSERT_TRUE(saw.wait([&] { return !saw.problems.empty(); }));
  EXPECT_NE(saw.problems[0].find("peers.json"), std::string::npos) << saw.problems[0];
  ASSERT_TRUE(write_file(path, R"({"peers": {"lap": {"address": "mac.local", "port": 5,
    "node_id": "22222222222222222222222222222222"}}})")
                  .ok());
  EXPECT_TRUE(saw.wait_for("lap"));
  EXPECT_TRUE(saw.wait_for("desk", /*leaving=*/true));
  discovery.stop();
  for (const PeerSighting& one : saw.peers) EXPECT_TRUE(one.name == "desk" || one.name == "lap");
  EXPECT_EQ(saw.peers.back().id.value, std::string(32, '2'));
  EXPECT_EQ(saw.problems.size(), 1u);
}

TEST(ManualDiscovery, BadFilesAreErrorsThatSayWhere) {
  for (const char* text : {"", "[]", "{}", R"({"peers": {"a": 1}})",
                           R"({"peers": {"a": {"address": "x y", "port": 1}}})",
                           R"({"peers": {"a": {"address": "x", "port": 70000}}})",
                           R"({"peers": {"a": {"address": "x", "port": 1, "node_id": "z"}}})"})
    EXPECT_FALSE(parse_peers(text).ok()) << text;
  EXPECT_NE(parse_peers(R"({"peers": {"desk": {"port": 1}}})").error().message.find("\"desk\""),
            std::string::npos);
  ManualDiscovery discovery({"/nonexistent/peers.json", {}, "", 1});
  EXPECT_FALSE(discovery.start({}).ok());
}

}  // namespace
}  // namespace exo
