// How a device joins a cluster, once: a member prints a code (`exo invite`), the new device is
// given it (`exo join CODE`). The code holds a 128-bit secret, the fingerprint of the cluster's
// public key, and where to connect. The joiner checks the fingerprint, proves the secret over that
// TLS connection, and receives the cluster's key. docs/protocol.md has the exchange and the trust
// model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "networking/identity.h"

namespace exo {

// --- the member's side

struct InviterOptions {
  std::shared_ptr<const Identity> identity;
  std::string host = "0.0.0.0";  // to listen on while a code is valid
  uint16_t port = 0;             // 0 = any free one
  int lifetime_s = 15 * 60;
  std::function<void(const std::string& name)> on_joined;  // from the inviter's thread
};

struct Invite {
  std::string code;  // secret: show it, never log it
  int64_t expires_wall_ms = 0;
};

// Listens only while a code is valid; a code works once. Thread-safe; owns at most one thread.
class Inviter {
 public:
  explicit Inviter(InviterOptions options);
  ~Inviter();
  Result<Invite> invite();  // withdraws the code before
  void withdraw();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// --- the new device's side

struct JoinOptions {
  std::string code;
  std::filesystem::path config_dir;
  std::string name;      // shown at the member
  bool replace = false;  // leave the cluster this device belongs to; its key is kept as a backup
  int timeout_ms = 5000;
};
struct Joined {
  std::string cluster_id;
  bool was_member = false;  // nothing to do
};
// Blocks for at most timeout_ms per address in the code.
Result<Joined> join(const JoinOptions& options);

// --- the code itself

struct InviteCode {
  std::string secret;                  // 16 bytes
  std::string fingerprint;             // 16 bytes: start of the cluster key's SPKI SHA-256
  std::vector<std::string> addresses;  // IPv4
  uint16_t port = 0;
};
std::string encode_invite(const InviteCode& code);
Result<InviteCode> parse_invite(std::string_view text);

}  // namespace exo
