#include "model/config_reader.h"

#include <fmt/core.h>

#include <cmath>

namespace exo {

std::string ConfigReader::full(std::string_view key) {
  std::string name = prefix_ + std::string(key);
  known_.insert(name);
  return name;
}

void ConfigReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

template <class T>
std::optional<T> ConfigReader::take(Result<std::optional<T>> value) {
  if (value.ok()) return std::move(value).value();
  fail(value.error());
  return std::nullopt;
}

int ConfigReader::size(std::string_view key, std::optional<int> fallback) {
  const std::string name = full(key);
  const auto value = take(get_int(object_, name));
  if (!value) {
    if (!fallback) fail(invalid_argument(fmt::format("'{}' is missing", name)));
    return fallback.value_or(1);
  }
  if (*value >= 1 && *value <= 1 << 30) return static_cast<int>(*value);
  fail(invalid_argument(fmt::format("'{}' is {}, which is out of range", name, *value)));
  return 1;
}

double ConfigReader::number(std::string_view key, double fallback) {
  const std::string name = full(key);
  const double value = take(get_number(object_, name)).value_or(fallback);
  if (!std::isfinite(value)) fail(invalid_argument(fmt::format("'{}' is not finite", name)));
  return value;
}

bool ConfigReader::flag(std::string_view key, bool fallback) {
  return take(get_bool(object_, full(key))).value_or(fallback);
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) {
  return take(get_string(object_, full(key))).value_or(std::string(fallback));
}

const JsonObject* ConfigReader::object(std::string_view key) {
  const auto found = get_object(object_, full(key));
  if (found.ok()) return *found;
  fail(found.error());
  return nullptr;
}

bool ConfigReader::present(std::string_view key) {
  const std::string name = full(key);
  return object_.contains(boost::json::string_view(name.data(), name.size()));
}

void ConfigReader::known(std::span<const std::string_view> keys) {
  for (const std::string_view key : keys) full(key);
}

Result<void> ConfigReader::finish() const {
  if (error_) return *error_;
  for (const auto& [key, value] : object_) {
    const std::string_view name(key.data(), key.size());
    if (!name.starts_with(prefix_) || value.is_null() || known_.contains(name)) continue;
    return unsupported(
        fmt::format("the key '{}' is not known here, and the model may need it to be right", name));
  }
  return {};
}

}  // namespace exo
