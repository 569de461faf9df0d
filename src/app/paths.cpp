#include "app/paths.h"

#include <cstdlib>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

namespace exo {
namespace {

namespace fs = std::filesystem;

fs::path user_home() {
  const std::string home = environment("HOME");
  return home.empty() ? fs::current_path() : fs::path(home);
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path config_dir() {
  if (const std::string dir = environment("EXO_CONFIG_DIR"); !dir.empty()) return dir;
  if (const std::string dir = environment("XDG_CONFIG_HOME"); !dir.empty())
    return fs::path(dir) / "exo";
  return user_home() / ".config" / "exo";
}

fs::path program_path() {
#if defined(__APPLE__)
  char buffer[4096];
  uint32_t size = sizeof(buffer);
  if (_NSGetExecutablePath(buffer, &size) != 0) return {};
  return fs::path(buffer);
#else
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
#endif
}

}  // namespace exo
