#include "networking/admission.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "networking/test_support.h"

namespace exo {
namespace {

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionTest() : identity_(Identity::open({member_.path(), ""}).value()) {}
  InviterOptions options() {
    InviterOptions out;
    out.identity = identity_;
    out.host = "127.0.0.1";
    return out;
  }
  Result<Joined> try_join(const std::string& code, bool replace = false) {
    return join({code, guest_.path(), "guest", replace});
  }
  TemporaryFolder member_, guest_;
  std::shared_ptr<const Identity> identity_;
};

TEST_F(AdmissionTest, AGuestJoinsOnceAndBelongs) {
  Inviter inviter(options());
  const Invite invite = inviter.invite().value();
  const Result<Joined> joined = try_join(invite.code);
  ASSERT_TRUE(joined.ok()) << joined.error().message;
  EXPECT_EQ(joined->cluster_id, identity_->cluster_id());
  EXPECT_EQ(Identity::open({guest_.path(), ""}).value()->cluster_id(), identity_->cluster_id());
  EXPECT_TRUE(try_join(invite.code)->was_member);
  TemporaryFolder late;
  const Result<Joined> again = join({invite.code, late.path(), "late"});
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.error().message.find("works once"), std::string::npos);
}

TEST_F(AdmissionTest, AnotherClusterIsLeftOnlyWhenTold) {
  const std::string old = Identity::open({guest_.path(), ""}).value()->cluster_id();
  Inviter inviter(options());
  const std::string code = inviter.invite().value().code;
  const Result<Joined> refused = try_join(code);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::already_exists);
  EXPECT_TRUE(try_join(code, true).ok()) << "the refused attempt did not spend the code";
  EXPECT_EQ(Identity::open({guest_.path(), ""}).value()->cluster_id(), identity_->cluster_id());
  EXPECT_TRUE(std::filesystem::exists(guest_.path() / ("cluster.key." + old + ".bak")));
}

TEST_F(AdmissionTest, AWrongSecretIsRefusedAndTheRightOneStillWorks) {
  Inviter inviter(options());
  const std::string code = inviter.invite().value().code;
  InviteCode wrong = parse_invite(code).value();
  wrong.secret[3] = static_cast<char>(wrong.secret[3] ^ 1);
  const Result<Joined> refused = try_join(encode_invite(wrong));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::permission_denied);
  EXPECT_TRUE(try_join(code).ok());
}

TEST_F(AdmissionTest, AnImpostorWithAnotherKeyLearnsNothing) {
  TemporaryFolder elsewhere;
  InviterOptions impostor = options();
  impostor.identity = Identity::open({elsewhere.path(), ""}).value();
  Inviter inviter(impostor);
  InviteCode code = parse_invite(inviter.invite().value().code).value();
  code.fingerprint[0] = static_cast<char>(code.fingerprint[0] ^ 1);
  const Result<Joined> refused = try_join(encode_invite(code));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("is not the one that made this code"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(guest_.path() / "cluster.key"));
}

TEST_F(AdmissionTest, WithdrawnAndReplacedCodesAreDead) {
  Inviter inviter(options());
  const std::string first = inviter.invite().value().code;
  const std::string second = inviter.invite().value().code;
  EXPECT_FALSE(try_join(first).ok());
  inviter.withdraw();
  EXPECT_FALSE(try_join(second).ok());
}

TEST_F(AdmissionTest, AnExpiredCodeClosesTheDoor) {
  InviterOptions brief = options();
  brief.lifetime_s = 0;
  Inviter inviter(brief);
  EXPECT_FALSE(try_join(inviter.invite().value().code).ok());
}

TEST(InviteCode, RoundTripAndTypingErrors) {
  const InviteCode in{
      std::string(16, 's'), std::string(16, 'f'), {"10.0.0.7", "192.168.1.2"}, 54321};
  const std::string code = encode_invite(in);
  EXPECT_EQ(code.substr(0, 5), "exo1-");
  std::string shouted = "  ";
  for (const char c : code) shouted.push_back(static_cast<char>(std::toupper(c)));
  shouted.insert(30, "\n ");
  const InviteCode out = parse_invite(shouted + "\n").value();
  EXPECT_EQ(out.secret, in.secret);
  EXPECT_EQ(out.addresses, in.addresses);
  EXPECT_EQ(out.port, in.port);
  for (size_t i = 0; i < code.size(); ++i) {
    std::string bent = code;
    bent[i] = bent[i] == 'b' ? 'c' : 'b';
    EXPECT_FALSE(parse_invite(bent).ok() && bent.back() == code.back()) << i;
    EXPECT_FALSE(parse_invite(code.substr(0, i)).ok());
  }
}

}  // namespace
}  // namespace exo
