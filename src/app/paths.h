// Where things lie on this device. The environment is read here, and by download/ for EXO_HOME.
#pragma once

#include <filesystem>
#include <string>

namespace exo {

// $EXO_CONFIG_DIR, else $XDG_CONFIG_HOME/exo, else ~/.config/exo
std::filesystem::path config_dir();
// Of the running program; empty when the system does not say.
std::filesystem::path program_path();
std::string environment(const char* name);  // "" when unset

}  // namespace exo
