#include "orchestration/revocation_keeper.h"

#include "base/log.h"

namespace exo {

Result<std::shared_ptr<RevocationKeeper>> RevocationKeeper::open(
    std::shared_ptr<const Identity> identity, Apply apply) {
  Revocations stored = TRY(load_revocations(identity->config_dir()));
  std::shared_ptr<RevocationKeeper> keeper(
      new RevocationKeeper(std::move(identity), std::move(apply)));
  // A list that another cluster signed is what `exo join --replace` leaves behind; it says nothing
  // here.
  if (stored.version > 0 && keeper->identity_->verify(stored).ok()) {
    keeper->list_ = std::move(stored);
    keeper->apply_(keeper->list_.nodes);
  }
  return keeper;
}

Revocations RevocationKeeper::current() const {
  const std::lock_guard lock(mutex_);
  return list_;
}

bool RevocationKeeper::learn(const Revocations& theirs) {
  const std::lock_guard lock(mutex_);
  auto merged = identity_->merge(list_, theirs);
  if (!merged.ok()) {
    log::warn("a list of revoked nodes is not used: {}", merged.error().message);
    return false;
  }
  if (!merged->has_value()) return false;
  if (const auto held = hold(std::move(**merged)); !held.ok())
    log::warn("the list of revoked nodes is used but not kept: {}", held.error().message);
  return true;
}

Result<void> RevocationKeeper::revoke(const NodeId& node) {
  const std::lock_guard lock(mutex_);
  return hold(TRY(identity_->revoke(list_, {node})));
}

Result<void> RevocationKeeper::hold(Revocations list) {
  list_ = std::move(list);
  apply_(list_.nodes);
  return save_revocations(identity_->config_dir(), list_);
}

}  // namespace exo
