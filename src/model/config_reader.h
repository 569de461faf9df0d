// ConfigReader: reads the keys of one JSON object with limits, remembers the first error and which
// keys were asked for, and at the end refuses keys that nobody knows: an unknown key may change the
// mathematics. Used by architecture files; one thread.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "backend/ops.h"
#include "base/result.h"
#include "core/json.h"

namespace exo {

class ConfigReader {
 public:
  // `prefix` is put before every key: "llama." for GGUF metadata.
  explicit ConfigReader(const JsonObject& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  // Sizes are at least 1 and at most 2^30. Absent or null takes the fallback; without one it is an
  // error.
  int size(std::string_view key, std::optional<int> fallback = std::nullopt);
  double number(std::string_view key, double fallback);
  bool flag(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  const JsonObject* object(std::string_view key);              // nullptr when absent or null
  bool present(std::string_view key);                          // there, perhaps null
  Gelu gelu(std::string_view key, std::string_view fallback);  // as Hugging Face names them
  void known(std::span<const std::string_view> keys);
  void known_everywhere();  // keys of any config.json that do not change what is computed
  void fail(Error error);

  // The first error; or unsupported, naming a key (with our prefix) that was never asked for and
  // is not null.
  Result<void> finish() const;

 private:
  std::string full(std::string_view key);
  template <class T>
  std::optional<T> take(Result<std::optional<T>> value);

  const JsonObject& object_;
  std::string prefix_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> error_;
};

}  // namespace exo
