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

fs::path home_dir() {
  if (const std::string dir = environment("EXO_HOME"); !dir.empty()) return dir;
  return user_home() / ".cache" / "exo";
}

fs::path downloads_dir() { return home_dir() / "downloads"; }

fs::path builtin_models_dir() {
  std::error_code ignored;
  const fs::path installed = program_path().parent_path() / ".." / "share" / "exo" / "models";
  if (fs::is_directory(installed, ignored)) return fs::canonical(installed, ignored);
  if (fs::is_directory(EXO_SOURCE_MODELS, ignored)) return EXO_SOURCE_MODELS;
  return {};
}

}  // namespace exo
