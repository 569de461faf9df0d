// TokenQueue: the tokens of one request on their way from the core to the asker. The driver pushes
// (never waits), one consumer takes. Bounded by the request's max_tokens: ids that find the queue
// full are a bug of the protocol and end the request with an error. A waker is called after each
// push, outside of all locks. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "orchestration/node.h"

namespace exo {

class TokenQueue {
 public:
  explicit TokenQueue(int max_tokens);

  // After finish or failed nothing is taken any more. Call wake() afterwards, holding no lock.
  void push(TokenStream::Item item);
  void wake();

  std::optional<TokenStream::Item> try_pop();
  std::optional<TokenStream::Item> pop(int timeout_ms);
  void set_waker(std::function<void()> waker);
  bool ended() const;  // the last item has been pushed

 private:
  std::optional<TokenStream::Item> pop_locked();

  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<TokenStream::Item> items_;
  int room_;         // ids that may still come
  int notices_ = 0;  // in items_
  bool ended_ = false;
  std::shared_ptr<const std::function<void()>> waker_;
};

}  // namespace exo
