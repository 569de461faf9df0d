// Where things lie on this device. Read from the environment here and nowhere else.
#pragma once

#include <filesystem>
#include <string>

namespace exo {

std::filesystem::path
config_dir();                      // $EXO_CONFIG_DIR, else $XDG_CONFIG_HOME/exo, else ~/.config/exo
std::filesystem::path home_dir();  // $EXO_HOME, else ~/.cache/exo
std::filesystem::path downloads_dir();  // home_dir()/downloads
// models/ beside the installed program (../share/exo/models), else of the source tree; empty when
// neither exists.
std::filesystem::path builtin_models_dir();
std::string environment(const char* name);  // "" when unset

}  // namespace exo
