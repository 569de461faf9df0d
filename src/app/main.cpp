// exo: one program, one verb per file. See command_line.h for what it understands.
#include <array>
#include <csignal>
#include <string_view>
#include <utility>

#include "app/paths.h"
#include "app/verbs.h"
#include "base/log.h"

namespace {

using Verb = int (*)(const exo::CommandLine&);
constexpr std::array<std::pair<std::string_view, Verb>, 17> kVerbs = {{
    {"serve", exo::run_serve},
    {"run", exo::run_run},
    {"status", exo::run_status},
    {"nodes", exo::run_nodes},
    {"topology", exo::run_topology},
    {"cluster", exo::run_cluster},
    {"models", exo::run_models},
    {"download", exo::run_download},
    {"rm", exo::run_rm},
    {"load", exo::run_load},
    {"unload", exo::run_unload},
    {"invite", exo::run_invite},
    {"join", exo::run_join},
    {"revoke", exo::run_revoke},
    {"bench", exo::run_bench},
    {"convert", exo::run_convert},
    {"debug", exo::run_debug},
}};

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = exo::parse_command_line(argc, argv);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const auto& line = std::get<exo::CommandLine>(parsed);
  const std::string debug = exo::environment("DEBUG");
  exo::log::configure(
      {.level = debug.empty() ? exo::log::Level::warn : exo::log::level_from_debug(debug),
       .json = line.log_json});
  std::signal(SIGPIPE, SIG_IGN);  // a closed connection is an error, not the end
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that may not grow
  for (const auto& [name, run] : kVerbs)
    if (name == line.verb) return run(line);
  return 2;
}
