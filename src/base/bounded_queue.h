// A queue between threads with a fixed capacity. Policy when full: push() waits, try_push() refuses
// and leaves the choice to the caller. close() wakes everybody: pushes fail, pops drain what is
// left and then return nothing. All calls are thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace exo {

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  bool push(T item) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || items_.size() < capacity_; });
    return push_locked(std::move(item));
  }
  bool try_push(T item) {
    std::unique_lock lock(mutex_);
    if (items_.size() >= capacity_) return false;
    return push_locked(std::move(item));
  }
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [&] { return closed_ || !items_.empty(); });
    return pop_locked();
  }
  std::optional<T> pop_for(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    filled_.wait_for(lock, timeout, [&] { return closed_ || !items_.empty(); });
    return pop_locked();
  }
  std::optional<T> try_pop() {
    std::unique_lock lock(mutex_);
    return pop_locked();
  }
  void close() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    room_.notify_all();
    filled_.notify_all();
  }
  bool closed() const {
    std::unique_lock lock(mutex_);
    return closed_;
  }
  size_t size() const {
    std::unique_lock lock(mutex_);
    return items_.size();
  }

 private:
  bool push_locked(T item) {
    if (closed_) return false;
    items_.push_back(std::move(item));
    filled_.notify_one();
    return true;
  }
  std::optional<T> pop_locked() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    room_.notify_one();
    return item;
  }

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace exo
