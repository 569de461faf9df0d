// How fast is a file copied from a neighbour, beside a plain stream of messages over the same link
// (mutual TLS, loopback, both nodes in this process)? In turns: "stream" sends 512 KiB messages as
// long as 32 MiB are on their way, "copy" is what a download does: ask, read, send, write, flush.
// Files lie in /dev/shm where there is one. neighbour_copy [MB] [ROUNDS]
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "download/model_source.h"
#include "download/neighbour_fetch.h"
#include "networking/test_support.h"
#include "orchestration/file_exchange.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMessageBytes = 512u << 10;
constexpr uint64_t kOnTheWayBytes = 32u << 20;
const std::string kRepo = "org/model", kCommit = std::string(40, 'c'), kFile = "model.safetensors";

class BenchNode final : public TransportHandler {
 public:
  BenchNode(const fs::path& config, const fs::path& downloads)
      : exchange(std::make_shared<FileExchange>(downloads)),
        identity(Identity::open({config, ""}).value()),
        transport({.identity = identity, .host = "127.0.0.1"}) {
    transport.start(*this).value();
  }
  ~BenchNode() override {
    exchange->stop();
    transport.stop();
  }
  void start(const NodeId& other) {
    exchange->start({identity->node_id(),
                     [this](const NodeId& to, Message message) {
                       return transport.send(to, std::move(message));
                     },
                     [other] { return std::vector<NodeId>{other}; }, [] { return false; }});
  }
  void on_link_up(const NodeId&) override { up = true; }
  void on_link_down(const NodeId& peer, const Error&) override { exchange->on_link_down(peer); }
  void on_refused(const PeerAddress&, const Error& why) override {
    fmt::print("{}\n", why.message);
  }
  void on_message(const NodeId& from, Message message) override {
    if (auto* request = std::get_if<FileRequest>(&message)) {
      exchange->on_request(from, std::move(*request));
    } else if (auto* reply = std::get_if<FileReply>(&message)) {
      received_bytes += reply->bytes.size();
      if (reply->request != 0) exchange->on_reply(from, std::move(*reply));
    }
  }

  std::shared_ptr<FileExchange> exchange;
  std::shared_ptr<const Identity> identity;
  GrpcTransport transport;
  std::atomic<bool> up = false;
  std::atomic<uint64_t> received_bytes = 0;
};

double mb_per_s(uint64_t bytes, const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  return static_cast<double>(bytes) / 1e6 / took.count();
}

void stream(BenchNode& from, BenchNode& to, uint64_t bytes) {
  FileReply reply;
  reply.bytes.resize(kMessageBytes, std::byte{'x'});
  to.received_bytes = 0;
  for (uint64_t sent = 0; sent < bytes; sent += kMessageBytes) {
    while (sent > to.received_bytes + kOnTheWayBytes)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (!from.transport.send(to.identity->node_id(), reply)) std::abort();
  }
  while (to.received_bytes < bytes) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

void make_model(const fs::path& folder, const SourceRecord& record) {
  fs::create_directories(folder);
  std::ofstream(folder / ".exo-source.json") << to_text(record);
  std::ofstream file(folder / kFile, std::ios::binary);
  std::string piece(1 << 20, '\0');
  for (uint64_t at = 0; at < record.files.weights[0].size; at += piece.size()) {
    for (size_t i = 0; i < piece.size(); i += 8) piece[i] = static_cast<char>(at / 4099 + i);
    file << piece;
  }
}

void copy(BenchNode& to, const fs::path& folder, const SourceRecord& record) {
  const HubClient hub(HubOptions{});
  const FetchPlace place{hub, real_file_ops(), folder, kRepo, kCommit};
  const RepoFile& file = record.files.weights[0];
  DownloadWatch watch;
  const auto copied = fetch_together(*to.exchange, to_text(record.source), place,
                                     {{file, RangeSet(ByteRange{0, file.size})}}, watch);
  if (!copied.ok() || watch.fetched_bytes != file.size) {
    fmt::print("not copied: {}\n", copied.ok() ? "not all of it" : copied.error().message);
    std::exit(1);
  }
}

int run(uint64_t megabytes, int rounds) {
  const fs::path parent = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
  const fs::path root = parent / fmt::format("exo-bench-{:x}", real_world().random_u64());
  SourceRecord record;
  record.source = {kRepo, kCommit, ""};
  record.files.weights = {{kFile, megabytes << 20, "sha256:" + std::string(64, '0')}};
  make_model(root / "giver" / "org--model", record);
  std::vector<double> streams, copies;
  {
    BenchNode giver(root / "config", root / "giver"), taker(root / "config", root / "taker");
    giver.transport.connect(taker.identity->node_id(),
                            {"127.0.0.1", taker.transport.port(), "loopback"});
    while (!giver.up || !taker.up) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    giver.start(taker.identity->node_id());
    taker.start(giver.identity->node_id());
    for (int round = 0; round < rounds; ++round) {
      const uint64_t bytes = megabytes << 20;
      streams.push_back(mb_per_s(bytes, [&] { stream(giver, taker, bytes); }));
      const fs::path folder = root / "taker" / "org--model";
      copies.push_back(mb_per_s(bytes, [&] { copy(taker, folder, record); }));
      fs::remove_all(folder);
      fmt::print("stream {:.0f} MB/s, copy {:.0f} MB/s, {:.2f}\n", streams.back(), copies.back(),
                 copies.back() / streams.back());
    }
  }
  fs::remove_all(root);
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  fmt::print("median: stream {:.0f} MB/s, copy {:.0f} MB/s, copy / stream {:.2f}\n",
             median(streams), median(copies), median(copies) / median(streams));
  return 0;
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  return exo::run(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1024,
                  argc > 2 ? std::atoi(argv[2]) : 5);
}
