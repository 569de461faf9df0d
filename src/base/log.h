// Logging. One process-wide logger on stderr: lines for people, or JSON objects for machines.
// Thread-safe. `DEBUG=0-9` (as users of exo know it) maps to levels: unset warn, 0 info, 1-3 debug,
// 4-9 trace. Prompts, answers and secrets are never logged.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace exo::log {

enum class Level { trace, debug, info, warn, error, off };

struct Options {
  Level level = Level::warn;
  bool json = false;
};

void configure(const Options& options);
Level level_from_debug(
    std::string_view debug_value);  // the value of $DEBUG; anything unknown is info
bool enabled(Level level);
void write(Level level, std::string_view line);

template <class... Args>
void trace(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::trace)) write(Level::trace, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::error)) write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace exo::log
