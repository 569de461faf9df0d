// A server with FakeNode behind it, for running the client checks without a model. Prints its base
// URL on one line, then serves until it is killed. Not installed.
#include <fmt/core.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "api/api_server.h"
#include "fake_node.h"

int main(int argc, char** argv) {
  exo::FakeNode node({.token_delay_us = 500, .context_length = 4096});
  exo::ApiOptions options;
  options.port = argc > 1 ? static_cast<uint16_t>(std::atoi(argv[1])) : 0;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto server = exo::ApiServer::start(node, options);
  if (!server.ok()) {
    fmt::print(stderr, "{}\n", server.error().message);
    return 1;
  }
  fmt::print("http://127.0.0.1:{}\n", (*server)->port());
  std::fflush(stdout);
  int received = 0;
  sigwait(&signals, &received);
  (*server)->stop(2000);
  return 0;
}
