// What one rendering may use, and how a template fails. Templates come with models and are hostile
// until proven otherwise, so every step, every byte of a new value and every level of nesting is
// paid for from a Budget. A Failure is this engine's only exception: it is thrown on parsing and
// rendering and never leaves the folder (template.h turns it into an Error). A Budget belongs to
// one rendering; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"

namespace exo::jinja {

struct Limits {
  size_t source_bytes = size_t{1} << 20;
  int64_t steps = 20'000'000;
  size_t allocated_bytes = size_t{512} << 20;  // everything a rendering makes, also what it drops
  size_t value_bytes = size_t{32} << 20;       // one string or list, and the output
  int depth = 500;                             // nested evaluations: macros, loops, expressions
};
inline constexpr int kMaxSyntaxDepth = 150;  // of the syntax tree
inline constexpr int kMaxValueDepth = 150;   // of lists in lists
inline constexpr size_t kMaxRange = 100'000;
inline constexpr size_t kMaxNameBytes = 256;
inline constexpr size_t kMaxArguments = 255;  // of one call, and parameters of one macro

struct Failure {
  ErrorCode code = ErrorCode::corrupt;
  std::string message;
  int line = 0;  // 0: not known where it was thrown
};

[[noreturn]] inline void fail(std::string message, int line = 0) {
  throw Failure{ErrorCode::corrupt, std::move(message), line};
}
[[noreturn]] inline void fail_limit(std::string message) {
  throw Failure{ErrorCode::resource_exhausted, std::move(message), 0};
}

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  void step(size_t count = 1) {
    steps_ += static_cast<int64_t>(count);
    if (steps_ > limits_.steps) fail_limit("the chat template takes too many steps");
  }
  // Called before something of this size is made.
  void check_size(size_t size_bytes) const {
    if (size_bytes > limits_.value_bytes) fail_limit("the chat template makes a value too large");
  }
  void allocate(size_t size_bytes) {
    check_size(size_bytes);
    allocated_bytes_ += size_bytes;
    if (allocated_bytes_ > limits_.allocated_bytes)
      fail_limit("the chat template uses too much memory");
  }
  void enter() {
    step();
    if (++depth_ > limits_.depth) fail_limit("the chat template nests too deeply");
  }
  void leave() { --depth_; }

  int line = 0;  // where the evaluation is, for messages

 private:
  Limits limits_;
  int64_t steps_ = 0;
  size_t allocated_bytes_ = 0;
  int depth_ = 0;
};

class DepthGuard {
 public:
  explicit DepthGuard(Budget& budget) : budget_(budget) { budget_.enter(); }
  ~DepthGuard() { budget_.leave(); }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Budget& budget_;
};

}  // namespace exo::jinja
