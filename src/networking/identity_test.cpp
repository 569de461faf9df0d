#include "networking/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "base/file.h"
#include "networking/test_support.h"

namespace exo {
namespace {

class IdentityTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Identity> open() { return Identity::open({home_.path(), ""}).value(); }
  int mode(const char* name) {
    struct stat info {};
    ::stat((home_.path() / name).c_str(), &info);
    return info.st_mode & 0777;
  }
  TemporaryFolder home_;
};

TEST_F(IdentityTest, NodesOfOneHomeShareAClusterAndDifferInIdentity) {
  const auto a = open(), b = open();
  EXPECT_EQ(a->cluster_id(), b->cluster_id());
  EXPECT_EQ(a->announcement_key(), b->announcement_key());
  EXPECT_NE(a->node_id(), b->node_id());
  EXPECT_EQ(a->node_id().value.size(), 32u);
  EXPECT_EQ(node_id_of_certificate(a->node_certificate_pem()).value(), a->node_id());
  EXPECT_FALSE(node_id_of_certificate(a->cluster_certificate_pem()).ok());
  EXPECT_EQ(mode("cluster.key"), 0600);
  EXPECT_EQ(mode("nodes/0.key"), 0600);
  EXPECT_EQ(mode("nodes"), 0700);
}

TEST_F(IdentityTest, ARestartedNodeIsTheSame) {
  const NodeId first = open()->node_id();
  EXPECT_EQ(open()->node_id(), first);
}

TEST_F(IdentityTest, StartingAtOnceMakesOneCluster) {
  std::vector<std::shared_ptr<const Identity>> all(8);
  std::vector<std::thread> threads;
  for (auto& one : all) threads.emplace_back([&] { one = open(); });
  for (std::thread& thread : threads) thread.join();
  std::set<NodeId> ids;
  for (const auto& one : all) {
    EXPECT_EQ(one->cluster_id(), all[0]->cluster_id());
    ids.insert(one->node_id());
  }
  EXPECT_EQ(ids.size(), all.size());
}

TEST_F(IdentityTest, AClusterKeyFromOutsideIsUsedAndNotWritten) {
  TemporaryFolder other;
  const auto there = Identity::open({other.path(), ""}).value();
  const auto here = Identity::open({home_.path(), there->cluster_key_pem()}).value();
  EXPECT_EQ(here->cluster_id(), there->cluster_id());
  EXPECT_FALSE(std::filesystem::exists(home_.path() / "cluster.key"));
  EXPECT_FALSE(Identity::open({home_.path(), "bm90IGEga2V5"}).ok());
  EXPECT_FALSE(Identity::open({home_.path(), "-----BEGIN nonsense"}).ok());
}

TEST_F(IdentityTest, DamagedFilesAreErrorsAndNeverOverwritten) {
  open();
  ASSERT_TRUE(write_file(home_.path() / "cluster.key", "garbage").ok());
  const auto opened = Identity::open({home_.path(), ""});
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find("cluster.key"), std::string::npos);
  EXPECT_EQ(read_file(home_.path() / "cluster.key", 100).value(), "garbage");
}

TEST_F(IdentityTest, AMovedDeviceKeepsItsIdentityUnderTheNewCluster) {
  TemporaryFolder other;
  const auto there = Identity::open({other.path(), ""}).value();
  auto before = open();
  const NodeId id = before->node_id();
  const std::string old_cluster = before->cluster_id();
  EXPECT_FALSE(store_cluster_key(home_.path(), there->cluster_key_pem()).ok());
  ASSERT_TRUE(store_cluster_key(home_.path(), there->cluster_key_pem(), {.replace = true}).ok());
  EXPECT_TRUE(std::filesystem::exists(home_.path() / ("cluster.key." + old_cluster + ".bak")));
  before.reset();  // lets its slot go
  const auto after = open();
  EXPECT_EQ(after->cluster_id(), there->cluster_id());
  EXPECT_EQ(after->node_id(), id);
}

TEST_F(IdentityTest, RevocationsAreSignedMergedAndKept) {
  TemporaryFolder other;
  const auto mine = open(), stranger = Identity::open({other.path(), ""}).value();
  const NodeId x{std::string(32, 'a')}, y{std::string(32, 'b')}, z{std::string(32, 'c')};
  const Revocations empty;
  EXPECT_TRUE(mine->verify(empty).ok());
  const Revocations one = mine->revoke(empty, {x}).value();
  EXPECT_EQ(one.version, 1u);
  EXPECT_TRUE(mine->verify(one).ok());
  EXPECT_FALSE(stranger->verify(one).ok());
  Revocations bent = one;
  bent.nodes.push_back(y);
  EXPECT_FALSE(mine->verify(bent).ok());
  EXPECT_FALSE(mine->merge(empty, bent).ok());
  EXPECT_EQ(mine->merge(empty, one).value()->nodes, one.nodes);
  EXPECT_FALSE(mine->merge(one, empty).value().has_value());
  EXPECT_FALSE(mine->merge(one, one).value().has_value());
  const Revocations apart = mine->revoke(mine->revoke(empty, {z}).value(), {y}).value();
  const Revocations all = mine->merge(one, apart).value().value();
  EXPECT_EQ(all.nodes, (std::vector<NodeId>{x, y, z}));
  EXPECT_TRUE(mine->verify(all).ok());
  ASSERT_TRUE(save_revocations(home_.path(), all).ok());
  const Revocations loaded = load_revocations(home_.path()).value();
  EXPECT_TRUE(mine->verify(loaded).ok());
  EXPECT_EQ(loaded.nodes, all.nodes);
  EXPECT_FALSE(mine->revoke(empty, {{"desk"}}).ok());
}

}  // namespace
}  // namespace exo
