#include "orchestration/token_queue.h"

#include <algorithm>
#include <chrono>

namespace exo {

namespace {
constexpr int kMaxNotices = 32;
using Kind = TokenStream::Item::Kind;
}  // namespace

TokenQueue::TokenQueue(int max_tokens) : room_(max_tokens) {}

void TokenQueue::push(TokenStream::Item item) {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  if (item.kind == Kind::notice) {
    if (notices_ >= kMaxNotices) return;
    ++notices_;
  } else if (item.kind == Kind::tokens) {
    room_ -= static_cast<int>(item.tokens.ids.size());
    if (room_ < 0)
      item = {Kind::failed, "", {}, internal_error("more tokens came than were asked for")};
  }
  ended_ = item.kind == Kind::failed || item.tokens.finish != FinishReason::none;
  items_.push_back(std::move(item));
  filled_.notify_one();
}

void TokenQueue::wake() {
  std::shared_ptr<const std::function<void()>> waker;
  {
    const std::lock_guard lock(mutex_);
    waker = waker_;
  }
  if (waker && *waker) (*waker)();
}

std::optional<TokenStream::Item> TokenQueue::pop_locked() {
  if (items_.empty()) return std::nullopt;
  std::optional<TokenStream::Item> item(std::move(items_.front()));
  items_.pop_front();
  if (item->kind == Kind::notice) --notices_;
  return item;
}

std::optional<TokenStream::Item> TokenQueue::try_pop() {
  const std::lock_guard lock(mutex_);
  return pop_locked();
}

std::optional<TokenStream::Item> TokenQueue::pop(int timeout_ms) {
  std::unique_lock lock(mutex_);
  filled_.wait_for(lock, std::chrono::milliseconds(std::max(timeout_ms, 0)),
                   [&] { return ended_ || !items_.empty(); });
  return pop_locked();
}

void TokenQueue::set_waker(std::function<void()> waker) {
  bool missed = false;
  {
    const std::lock_guard lock(mutex_);
    waker_ = std::make_shared<const std::function<void()>>(std::move(waker));
    missed = !items_.empty();
  }
  if (missed) wake();
}

bool TokenQueue::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace exo
