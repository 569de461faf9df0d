// RevocationKeeper: which nodes are shut out of this cluster: the signed list on disk, kept up to
// date with what peers say, and applied to the links. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "networking/identity.h"

namespace exo {

class RevocationKeeper {
 public:
  // `apply` gets the revoked nodes, now and after each change; it must not call back.
  using Apply = std::function<void(const std::vector<NodeId>&)>;
  static Result<std::shared_ptr<RevocationKeeper>> open(std::shared_ptr<const Identity> identity,
                                                        Apply apply);

  Revocations current() const;
  bool learn(const Revocations& theirs);  // true when it changed what is held here
  Result<void> revoke(const NodeId& node);

 private:
  RevocationKeeper(std::shared_ptr<const Identity> identity, Apply apply)
      : identity_(std::move(identity)), apply_(std::move(apply)) {}
  Result<void> hold(Revocations list);

  const std::shared_ptr<const Identity> identity_;
  const Apply apply_;
  mutable std::mutex mutex_;
  Revocations list_;
};

}  // namespace exo
