// One function per verb; each returns the exit code.
#pragma once

#include "app/command_line.h"

namespace exo {

int run_serve(const CommandLine& line);
int run_run(const CommandLine& line);
int run_status(const CommandLine& line);
int run_nodes(const CommandLine& line);
int run_topology(const CommandLine& line);
int run_cluster(const CommandLine& line);
int run_models(const CommandLine& line);
int run_download(const CommandLine& line);
int run_rm(const CommandLine& line);
int run_load(const CommandLine& line);
int run_unload(const CommandLine& line);
int run_invite(const CommandLine& line);
int run_join(const CommandLine& line);
int run_revoke(const CommandLine& line);
int run_convert(const CommandLine& line);
int run_bench(const CommandLine& line);
int run_debug(const CommandLine& line);

}  // namespace exo
