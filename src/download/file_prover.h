// FileProver: proves what this node holds of files, with the other nodes, on a thread of its own:
// when something was brought here, when the nodes that are linked have changed, and when another
// node has found something out. What it finds is noted beside the file (SparseRecord::proved).
// Bytes that are wrong count as missing from then on. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "core/file_messages.h"
#include "download/held_files.h"
#include "download/neighbours.h"
#include "download/range_fetch.h"

namespace exo {

class FileProver {
 public:
  FileProver(std::filesystem::path downloads, Neighbours& neighbours)
      : downloads_(downloads), files_(std::move(downloads)), neighbours_(neighbours) {}
  ~FileProver() { stop(); }

  void start();
  void stop();
  void brought(std::filesystem::path folder);
  void learn(FileProof proof);

 private:
  using Task = std::variant<std::filesystem::path, FileProof>;

  void run();
  void add(Task task);
  void look_around();
  void prove(const std::filesystem::path& folder);
  void note(const FileProof& proof);
  bool unproved(const std::filesystem::path& file) const;
  bool pause(int ms);  // false: it is stopping

  const std::filesystem::path downloads_;
  HeldFiles files_;  // of the thread
  Neighbours& neighbours_;
  DownloadWatch watch_;  // what waits for a folder ends with it
  std::vector<NodeId> seen_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  std::thread thread_;
};

}  // namespace exo
