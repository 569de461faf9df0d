// exo: start a node, print where it can be reached, run until Ctrl-C or SIGTERM.
#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "api/api_server.h"
#include "app/api_client.h"
#include "app/console.h"
#include "app/node_setup.h"
#include "app/verbs.h"
#include "networking/interfaces.h"

namespace exo {
namespace {

constexpr int kDefaultApiPort = 52415;
constexpr int kPortsTried = 100;
constexpr int kGoodbyeMs = 2000;

bool is_loopback(const std::string& host) {
  return host.starts_with("127.") || host == "localhost" || host == "::1";
}

// Whether `port` can be listened on now.
bool is_free(const std::string& host, int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return false;
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return free;
}

bool held_by_exo(int port) {
  const Result<Json> health =
      ApiClient(fmt::format("http://127.0.0.1:{}", port), "").get("/health", 1000);
  return health.ok() && health->is_object() && health->get_object().contains("service") &&
         health->at("service") == "exo";
}

// The port asked for, or 52415, or the next free one when another exo has that.
Result<int> choose_api_port(const NodeFlags& flags) {
  if (flags.api_port != 0) {
    if (is_free(flags.api_host, flags.api_port)) return flags.api_port;
    return unavailable(fmt::format("port {} is taken{}: choose another with --chatgpt-api-port",
                                   flags.api_port,
                                   held_by_exo(flags.api_port) ? " by another exo" : ""));
  }
  if (is_free(flags.api_host, kDefaultApiPort)) return kDefaultApiPort;
  if (!held_by_exo(kDefaultApiPort))
    return unavailable(
        fmt::format("port {} is taken by another program: choose one with --chatgpt-api-port",
                    kDefaultApiPort));
  for (int port = kDefaultApiPort + 1; port < kDefaultApiPort + kPortsTried; ++port)
    if (is_free(flags.api_host, port)) return port;
  return unavailable("no free port for the API: choose one with --chatgpt-api-port");
}

Result<void> check_api(const NodeFlags& flags) {
  if (!is_loopback(flags.api_host) && flags.api_key.empty())
    return invalid_argument("--api-host " + flags.api_host +
                            " serves the network and needs --api-key KEY (or EXO_API_KEY)");
  return {};
}

std::vector<std::string> urls_of(const NodeFlags& flags, int port) {
  std::vector<std::string> urls = {fmt::format("http://localhost:{}", port)};
  if (is_loopback(flags.api_host)) return urls;
  for (const PeerAddress& address : reachable_addresses(flags.api_host, 0))
    if (address.interface_type != "loopback")
      urls.push_back(fmt::format("http://{}:{}", address.host, port));
  return urls;
}

void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Blocks the signals that end a node in this and every later thread; wait() takes them one by one.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, signal);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  void wait() const {
    int signal = 0;
    while (::sigwait(&set_, &signal) != 0) {
    }
  }
  void unblock() const { ::pthread_sigmask(SIG_UNBLOCK, &set_, nullptr); }  // they kill from now on

 private:
  sigset_t set_;
};

void print_banner(const LocalNode& node, const std::vector<std::string>& urls) {
  const NodeStatus status = node.status();
  std::printf("exo %s · node %s (%s) · cluster %s\n", status.version.c_str(),
              status.core.self.name.c_str(), status.core.self.id.value.substr(0, 8).c_str(),
              status.cluster_id.c_str());
  std::printf("API and page: %s\n", urls.front().c_str());
  for (size_t i = 1; i < urls.size(); ++i) std::printf("              %s\n", urls[i].c_str());
  std::printf("Ask it: exo run demo   Add a device: exo invite   Stop: Ctrl-C\n");
  std::fflush(stdout);
}

// Own answers may finish for a moment; then the others hear goodbye and take over what ran here.
void stop_node(const StopSignals& signals, ApiServer& server, LocalNode& node) {
  std::printf("stopping; Ctrl-C again quits at once\n");
  std::fflush(stdout);
  signals.unblock();
  server.stop(kGoodbyeMs);
  node.stop();
}

Result<void> serve(const CommandLine& line) {
  StopSignals signals;
  TRY(check_api(line.node));
  const int port = TRY(choose_api_port(line.node));
  const std::vector<std::string> urls = urls_of(line.node, port);
  std::unique_ptr<NodeSetup> setup =
      TRY(NodeSetup::start(line.node, static_cast<uint16_t>(port), urls));
  LocalNode& node = setup->node();
  if (line.node.wait_for_peers > 0) {
    std::printf("waiting for %d peers\n", line.node.wait_for_peers);
    std::fflush(stdout);
    node.wait_for_peers(static_cast<size_t>(line.node.wait_for_peers), 24 * 3600 * 1000);
  }
  ApiOptions api;
  api.host = line.node.api_host;
  api.port = static_cast<uint16_t>(port);
  if (!line.node.api_key.empty()) api.api_keys.push_back(line.node.api_key);
  std::unique_ptr<ApiServer> server = TRY(ApiServer::start(node, api));
  const Result<RunningNote> note = RunningNote::write(port, line.node.api_key);
  if (!note.ok()) return note.error();

  print_banner(node, urls);
  signals.wait();
  stop_node(signals, *server, node);
  return {};
}

}  // namespace

int run_serve(const CommandLine& line) {
  raise_file_limit();
  const Result<void> done = serve(line);
  return done.ok() ? 0 : fail(done.error());
}

}  // namespace exo
