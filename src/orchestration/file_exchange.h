// FileExchange: Neighbours over the links of the cluster, both sides of it. It answers what others
// ask about this node's downloads folder, on a thread of its own and slowly while this node
// computes, and lets this node's downloads ask others. Made before the node, which starts it with
// its links and stops it; without links there are no neighbours. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "core/messages.h"
#include "download/file_claims.h"
#include "download/file_prover.h"
#include "download/held_files.h"
#include "download/neighbours.h"

namespace exo {

class FileExchange final : public Neighbours {
 public:
  struct Links {
    NodeId self;
    std::function<bool(const NodeId&, Message)> send;  // false: there is no link
    std::function<std::vector<NodeId>()> peers;        // linked now
    std::function<bool()> busy;                        // this node computes for somebody
  };

  explicit FileExchange(const std::filesystem::path& downloads)
      : files_(downloads), prover_(downloads, *this) {}
  ~FileExchange() override { stop(); }

  void start(Links links);
  void stop();  // who waits gets nothing; the links are not used after it returns
  void on_request(const NodeId& from, FileRequest request);
  void on_reply(const NodeId& from, FileReply reply);
  void on_proof(FileProof proof) { prover_.learn(std::move(proof)); }
  void on_link_down(const NodeId& peer);

  Answer announce(const FileName& name, const RangeSet& wanted) override;
  RangeSet take(const FileName& name, ByteRange range) override {
    return claims_.take(name, range);
  }
  void withdraw(const FileName& name) override { claims_.end(name); }
  std::optional<std::vector<std::byte>> read(const NodeId& node, const FileName& name,
                                             ByteRange range) override;
  std::vector<NodeId> nodes() override;
  std::optional<HashStep> hash(const NodeId& node, const FileName& name, ByteRange range,
                               std::string state) override;
  void brought(const std::filesystem::path& folder) override { prover_.brought(folder); }
  void tell(const FileProof& proof) override;

 private:
  struct Waiting {
    NodeId node;
    std::optional<FileReply> reply;
    bool over = false;
  };
  struct Asked {
    NodeId from;
    FileRequest request;
  };

  class Call;  // while it lives, stop() waits

  uint64_t ask(const NodeId& node, FileRequest request);  // 0: there is no link
  std::optional<FileReply> wait(uint64_t request, int timeout_ms);
  void serve();
  FileReply answer(const Asked& asked);

  HeldFiles files_;  // of the serving thread
  FileClaims claims_;
  Links links_;  // set by start(), before anything else is called
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  int calls_ = 0;
  uint64_t next_request_ = 1;
  std::map<uint64_t, Waiting> waiting_;
  std::deque<Asked> asked_;
  std::thread server_;
  FileProver prover_;
};

}  // namespace exo
