// Who this node is: the cluster's key (every member holds it), this process's own key pair, and a
// certificate that binds the second to the first. Kept under a configuration folder that several
// processes may share; each takes a slot of its own there (nodes/<slot>.key), held by a file lock
// until the Identity is destroyed, so that a restarted node finds its identity again. Immutable
// after open, thread-safe. Fails with what is wrong in the folder and what to do; an unreadable or
// foreign key is never overwritten.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/ids.h"
#include "core/messages.h"

namespace exo {

struct IdentityOptions {
  std::filesystem::path config_dir;  // ~/.config/exo
  // Headless devices: $EXO_CLUSTER_KEY, PEM or base64 of PEM. Then the folder's cluster key is
  // neither read nor written.
  std::string cluster_key;
};

class Identity {
 public:
  static Result<std::shared_ptr<const Identity>> open(const IdentityOptions& options);
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  const NodeId& node_id() const { return node_id_; }
  const std::string& cluster_id() const { return cluster_id_; }  // public: 16 hex digits
  const std::filesystem::path& config_dir() const { return config_dir_; }

  const std::string& cluster_certificate_pem() const { return cluster_certificate_; }
  const std::string& node_certificate_pem() const { return node_certificate_; }
  const std::string& node_key_pem() const { return node_key_; }              // secret
  const std::string& cluster_key_pem() const { return cluster_key_; }        // secret
  const std::string& announcement_key() const { return announcement_key_; }  // secret, 32 bytes

  // The list `current` and these nodes, as the next version.
  Result<Revocations> revoke(const Revocations& current, const std::vector<NodeId>& nodes) const;
  Result<void> verify(const Revocations& revocations) const;
  // What to hold after hearing `theirs`: nothing when that changes nothing; an error when it is not
  // signed by this cluster. Two lists of one version are united under a new one.
  Result<std::optional<Revocations>> merge(const Revocations& mine,
                                           const Revocations& theirs) const;

 private:
  Identity() = default;
  Result<void> load_cluster(const std::string& given_key);
  Result<void> load_node();

  std::filesystem::path config_dir_;
  std::string cluster_key_, cluster_certificate_, cluster_id_, announcement_key_;
  std::string node_key_, node_certificate_;
  NodeId node_id_;
  int slot_lock_ = -1;  // file descriptor
};

// Empty when there is none yet. Checked by the caller with Identity::verify.
Result<Revocations> load_revocations(const std::filesystem::path& config_dir);
Result<void> save_revocations(const std::filesystem::path& config_dir, const Revocations& list);

// Makes the cluster's key where there is none, and returns the one that is there.
Result<std::string> load_or_make_cluster_key(const std::filesystem::path& config_dir);

// The public name of the cluster that a key (PEM, or base64 of PEM) belongs to.
Result<std::string> cluster_id_of_key(const std::string& cluster_key);

// Replaces or creates the stored cluster key. Another cluster's key is replaced only when told to,
// and kept beside as cluster.key.<its id>.bak; running nodes notice at their next start.
struct StoreOptions {
  bool replace = false;
};
Result<void> store_cluster_key(const std::filesystem::path& config_dir,
                               const std::string& cluster_key, StoreOptions options = {});

// The NodeId of a peer, from the certificate it presented; an error when it is not a node's
// certificate (its name is not the hash of its public key). The chain is TLS's to check.
Result<NodeId> node_id_of_certificate(const std::string& certificate_pem);

}  // namespace exo
