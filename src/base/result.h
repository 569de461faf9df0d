// Errors as values. A function that can fail for reasons outside the program (users, peers, files,
// the system) returns Result<T>; its Error says what was wrong and what to do. CHECK (check.h) is
// for our own bugs only. Value types; no thread-safety of their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace exo {

enum class ErrorCode {
  invalid_argument,  // the caller's input is wrong; retrying will not help
  not_found,
  already_exists,
  unsupported,         // well-formed, but this build or model cannot do it
  corrupt,             // bytes from outside that break their format
  resource_exhausted,  // memory, KV room, queue, disk
  unavailable,         // try again later, or elsewhere
  deadline_exceeded,
  cancelled,
  permission_denied,
  internal,
};

std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string
      message;  // a sentence for people: what was wrong, and the next step where there is one

  // The same error seen from further out: "config.json: expected a number ...".
  Error in(std::string_view context) const { return {code, std::string(context) + ": " + message}; }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(explicit)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(explicit)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok(), error_message());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok(), error_message());
    return std::get<0>(state_);
  }
  T value() && {  // a value, so that `for (x : f().value())` walks over something that lives
    CHECK(ok(), error_message());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    CHECK(!ok(), "error() of a Result that holds a value");
    return std::get<1>(state_);
  }

 private:
  std::string error_message() const { return ok() ? "" : std::get<1>(state_).message; }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(explicit)

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const { CHECK(ok(), error_->message); }
  const Error& error() const {
    CHECK(!ok(), "error() of a Result that holds a value");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

inline Error invalid_argument(std::string message) {
  return {ErrorCode::invalid_argument, std::move(message)};
}
inline Error not_found(std::string message) { return {ErrorCode::not_found, std::move(message)}; }
inline Error unsupported(std::string message) {
  return {ErrorCode::unsupported, std::move(message)};
}
inline Error corrupt(std::string message) { return {ErrorCode::corrupt, std::move(message)}; }
inline Error resource_exhausted(std::string message) {
  return {ErrorCode::resource_exhausted, std::move(message)};
}
inline Error unavailable(std::string message) {
  return {ErrorCode::unavailable, std::move(message)};
}
inline Error permission_denied(std::string message) {
  return {ErrorCode::permission_denied, std::move(message)};
}
inline Error internal_error(std::string message) {
  return {ErrorCode::internal, std::move(message)};
}

}  // namespace exo

// auto config = TRY(parse_config(text));   returns the error to the caller where there is one. Not
// among the elements of a braced list: what was built of the list so far would leak
// (tools/lint.py).
#define TRY(expression)                                \
  ({                                                   \
    auto try_result_ = (expression);                   \
    if (!try_result_.ok()) return try_result_.error(); \
    std::move(try_result_).value();                    \
  })
